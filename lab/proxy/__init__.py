"""From the client's socket to the service's: the edge, the way out, and the WebSocket between them."""

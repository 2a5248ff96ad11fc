"""Load: traffic by the thousand from Locust (`runner`), by the clock from a few sockets (`direct`)."""

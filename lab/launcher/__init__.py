"""The launcher: starts the two services and the gateway, watches them, and always stops them."""

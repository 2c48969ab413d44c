"""The HTTP interface: one ASGI application on one port."""

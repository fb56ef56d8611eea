"""An HTTP gateway whose registry is a live mirror of Consul."""

__version__ = "0.1.0"

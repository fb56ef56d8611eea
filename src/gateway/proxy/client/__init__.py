"""Towards the client: connections accepted, their bytes into requests, and what is known of each request."""

"""What happens to a request and a response around the forwarding."""

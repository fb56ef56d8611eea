"""The words of HTTP: fields, what ends at a hop, and what the gateway adds, refuses and answers."""

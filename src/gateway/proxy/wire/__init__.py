"""What the connections of both legs have in common."""

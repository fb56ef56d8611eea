"""What the gateway tells of itself: logs, the access log, metrics. Imports nothing of ours but the core's nouns."""

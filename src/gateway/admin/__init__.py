"""The admin surface: what operators and their tools read of a running gateway, on a listener of its own."""

"""Towards the instances: pools of kept connections, a request out on one of them, its response in."""

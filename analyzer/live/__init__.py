"""Live capture: the same analysis while packets come, its rows written and shown as they come."""

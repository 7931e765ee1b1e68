"""What the dissector of TLS consists of: its rows, and the conversation they tell of."""

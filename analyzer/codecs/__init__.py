"""Bytes to messages, without the state of a conversation."""

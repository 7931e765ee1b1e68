"""3. Segments become ordered bytes: flow keys, reassembly, the connection table."""

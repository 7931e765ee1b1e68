"""2. A frame becomes a segment or datagram: link layers, tunnels, IP, fragments, TCP, UDP."""

"""1. Where packets come from: pcap and pcapng files, compressed or not, standard input, several files in time order."""

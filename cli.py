#!/usr/bin/env python3
"""Runs the unmux command line from a checkout: ``python cli.py capture.pcapng``."""

import sys

from analyzer.commands import main

if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Runs the unmux command line from a checkout: ``python cli.py capture.pcapng``."""

from analyzer.commands import run

if __name__ == "__main__":
    run()

"""unmux takes packet captures apart: one row per stream, exchange and message, in DuckDB.

>>> import analyzer
>>> store = analyzer.analyze(["capture.pcapng"])
>>> store.sql("SELECT request_method, target, status_code FROM http_exchanges")
"""

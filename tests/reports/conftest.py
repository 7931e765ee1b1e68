"""A report's sections by their headings, and stores of rows made by hand."""

import pytest

from analyzer import protocols, reports
from analyzer.store import Store


@pytest.fixture
def store_of():
    """Makes a store of rows."""
    made = []

    def make(rows):
        store = Store(records=[record for dissector in protocols.dissectors() for record in dissector.records])
        made.append(store)
        store.add(rows)
        store.finish()
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def section():
    """Reads the rows of the section of a report whose heading begins so."""

    def read(store, name, heading):
        for part, relation in reports.answers(store, reports.load(name)):
            if part.heading.startswith(heading):
                return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
        raise AssertionError(heading)

    return read

"""Makes the samples: ``python sample_pcaps/make/make_samples.py [NAME...]`` (as root; see ../README.md)."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import demo_sample  # noqa: F401
import encapsulation_samples  # noqa: F401  # each registers its samples
import http1_samples  # noqa: F401
import http2_samples  # noqa: F401
import tcp_samples  # noqa: F401
import tls_inside_samples  # noqa: F401
import tls_keys_samples  # noqa: F401
import tls_samples  # noqa: F401
import websocket_samples  # noqa: F401
from samples import REGISTRY, SAMPLES_FOLDER, note

LARGEST = 100_000  # bytes of a sample, so that the folder stays small
LARGEST_DEMO = 300_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", help="samples such as http1/keep_alive, or the beginnings of such names; all otherwise"
    )
    wanted = parser.parse_args().names
    # Encapsulations wrap what the others made.
    for name, (suffix, make) in sorted(REGISTRY.items(), key=lambda item: (item[0].startswith("encapsulation"), item[0])):
        if wanted and not any(name.startswith(beginning) for beginning in wanted):
            continue
        path = SAMPLES_FOLDER / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path).write(path.with_suffix(".expected.json"))
        size = path.stat().st_size
        if size > (LARGEST_DEMO if name == "demo" else LARGEST):
            raise SystemExit(f"{name}: {size} bytes is too large for a sample")
        note(f"{name}{suffix}: {size} bytes")


if __name__ == "__main__":
    main()

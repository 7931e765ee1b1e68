"""What scapy knows of a machine's interfaces: their names and addresses, filters for them, and a socket that any system has.

Importing scapy takes half a second: this module is imported only where it is needed.
"""

import logging
import sys
from typing import Any, Final

from analyzer.capture.ring import Instruction
from analyzer.errors import UnmuxError, UsageError

logging.getLogger("scapy").setLevel(logging.ERROR)  # it warns of what does not matter here

from scapy.arch.common import compile_filter  # noqa: E402
from scapy.config import conf  # noqa: E402
from scapy.error import Scapy_Exception  # noqa: E402

_FILTERED_AS: Final = {1: 1}  # LINKTYPE_ number -> DLT_ number that filters are compiled for
_RAW_IP: Final = 12  # DLT_RAW: the kernel has taken other headers off, or there are none
_ETHERNET: Final = 1


def interfaces() -> list[tuple[str, str, str, str, str]]:
    """Name, state, addresses, hardware address and description of each interface."""
    conf.ifaces.reload()
    found = []
    for interface in conf.ifaces.values():
        flags = str(interface.flags).split("+")
        state = "down" if "UP" not in flags else "up" if "RUNNING" in flags or "LOWER_UP" in flags else "up, no carrier"
        addresses = ", ".join(address for family in (4, 6) for address in interface.ips.get(family, []))
        described = interface.description if interface.description != interface.name else ""
        kind = "loopback" if "LOOPBACK" in flags else described
        hardware = interface.mac if interface.mac and interface.mac != "00:00:00:00:00:00" else ""
        found.append((interface.name, state, addresses, hardware, kind))
    return found


def program(expression: str, link_type: int) -> list[Instruction]:
    """The BPF program of a filter expression (pcap-filter(7)).

    Raises ``UsageError`` for one that libpcap does not understand, ``UnmuxError`` where there is no libpcap.
    """
    try:
        compiled = compile_filter(expression, linktype=_FILTERED_AS.get(link_type, _RAW_IP))
    except ImportError:
        installed = "brew install libpcap" if sys.platform == "darwin" else "apt install libpcap0.8, dnf install libpcap"
        raise UnmuxError(f"-f needs libpcap, which compiles filters; install it ({installed})") from None
    except Scapy_Exception as error:
        told = str(error).rpartition(" (")[2].rstrip(")") or str(error)
        raise UsageError(f"-f {expression}: {told}") from None
    return [
        (instruction.code, instruction.jt, instruction.jf, instruction.k)
        for instruction in (compiled.bf_insns[place] for place in range(compiled.bf_len))
    ]


def listen(interface: str, expression: str | None, promiscuous: bool) -> Any:
    """A socket that hears an interface, of whatever kind scapy has for this system. Raises ``PermissionError``."""
    try:
        return conf.L2listen(iface=interface, filter=expression or None, promisc=promiscuous)
    except PermissionError:
        raise
    except (Scapy_Exception, OSError, ValueError) as error:
        raise UnmuxError(f"{interface}: cannot be opened: {error}") from None


def link_type_of(layer: Any) -> int:
    """The LINKTYPE_ number of the packets that scapy takes for ``layer``."""
    return int(conf.l2types.layer2num.get(layer, _ETHERNET))

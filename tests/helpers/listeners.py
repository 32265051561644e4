"""Sockets that listen, by the process that holds them: /proc/net/tcp and tcp6 beside the inodes in /proc/*/fd."""

import fcntl
import ipaddress
import os
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_LISTENS = "0A"
_SIOCGIFADDR = 0x8915


@dataclass(frozen=True)
class Listener:
    """A TCP socket: its address, as /proc has it, and the title of its process."""

    address: str
    port: int
    title: str

    @property
    def is_on_loopback(self) -> bool:
        address = ipaddress.ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback


def listeners(family: Iterable[int] | None = None) -> set[Listener]:
    """What some processes listen on now; this one and those below it, unless others are named."""
    owners = {inode: pid for pid in family or _family() for inode in _sockets(pid)}
    return {Listener(address, port, _title(owners[inode])) for inode, address, port in _listening() if inode in owners}


def ports_of_others() -> set[int]:
    """Ports on which somebody else on this machine listens, perhaps at another address: another session, say."""
    own = {inode for pid in _family() for inode in _sockets(pid)}
    return {port for inode, _, port in _listening() if inode not in own}


@contextmanager
def listeners_watched(seconds: float = 0.5) -> Iterator[set[Listener]]:
    """All that these processes listen on while a `with` block runs; looked at every so many seconds."""
    found: set[Listener] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(seconds):
            found.update(listeners())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def other_addresses() -> list[str]:
    """IPv4 addresses of this machine beside 127.0.0.1; 127.0.0.2 reaches what listens on all of them."""
    found = [_address_of(name) for _, name in socket.if_nameindex()]
    return [each for each in found if each not in (None, "127.0.0.1")] + ["127.0.0.2"]


def accepts(address: str, port: int) -> bool:
    """Whether somebody at this machine's `address` gets a connection."""
    with socket.socket() as here:
        here.settimeout(5)
        return here.connect_ex((address, port)) == 0


def _listening() -> Iterator[tuple[str, str, int]]:
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENS:
                address, port = fields[1].split(":")
                words = [bytes.fromhex(address[start : start + 8])[::-1] for start in range(0, len(address), 8)]
                yield fields[9], socket.inet_ntop(family, b"".join(words)), int(port, 16)


def _family() -> list[int]:
    """This process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [os.getpid()]
    for pid in found:
        found += children.get(pid, [])
    return found


def _sockets(pid: int) -> list[str]:
    found = []
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            target = os.readlink(entry.path)
            if target.startswith("socket:["):
                found.append(target[8:-1])
    except OSError:  # it has ended
        return found
    return found


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _address_of(interface: str) -> str | None:
    request = struct.pack("256s", interface.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        try:
            return socket.inet_ntoa(fcntl.ioctl(here, _SIOCGIFADDR, request)[20:24])
        except OSError:  # it has none
            return None

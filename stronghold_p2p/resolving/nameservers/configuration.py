"""The nameservers and the search list of this machine, also of one with Windows, as dnspython reads them."""

from pathlib import Path

from dns.resolver import NoResolverConfiguration, Resolver

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.resolving.dns import server_of
from stronghold_p2p.resolving.nameservers.system import Configuration


def read_configuration(path: Path) -> Configuration:
    """The system's. What is wrong with it is its ``problem``: names in the hosts file are found all the same."""
    try:
        read = Resolver(str(path))
        servers = [server_of(f"[{one}]" if ":" in one else one) for one in map(str, read.nameservers)]
    except (NoResolverConfiguration, OSError):
        return Configuration(problem=f"{path} is missing, or names no nameserver")
    except (ValueError, ConfigError) as error:
        return Configuration(problem=f"{path}: {error}")
    search = read.search or ([read.domain] if len(read.domain) > 1 else [])
    names = tuple(domain.to_text(omit_final_dot=True) for domain in search)
    return Configuration(tuple(servers), names, 1 if read.ndots is None else read.ndots)

#!/bin/sh
# Package multiaddr 0.2.0 (PyPI): two kinds of valid address that are something else inside than what they show.
#
# 1. The components of an address with a zone. For "/ip6zone/eth0/ip6/fe80::1/tcp/1", which the package itself makes and
#    prints, `protocols()` and `items()` show four components, of which the second is an IPv4 address that is nowhere in
#    it: the length of the zone is taken for a code, and its letters for the address. `len()` is 4 and not 3. The cause:
#    the codec of ip6zone says SIZE = 0, which is written with a length before it and walked over without one.
# 2. A peer id given as a CID (libp2p's peer-ids/peer-ids.md, "Decoding", allows that in text) stays a CID in the bytes,
#    although the text that is shown is the base58 of its multihash. So two objects with the same text are unequal, and
#    the bytes are not those that other implementations make of that text.
#
# Seen on 1 December 2026. Output at the end, which this script compares.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install multiaddr==0.2.0
cat > "$folder/look.py" <<'PYTHON'
from multiaddr import Multiaddr

zoned = Multiaddr("/ip6zone/eth0/ip6/fe80::1/tcp/1")
print(zoned, [(protocol.name, value) for protocol, value in zoned.items()], len(zoned))

cid = Multiaddr("/p2p/bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe")
base58 = Multiaddr("/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N")
print(str(cid) == str(base58), cid == base58, len(cid.to_bytes()), len(base58.to_bytes()))
PYTHON
cat > "$folder/seen" <<'SEEN'
/ip6zone/eth0/ip6/fe80::1/tcp/1 [('ip6zone', None), ('ip4', '101.116.104.48'), ('ip6', 'fe80::1'), ('tcp', '1')] 4
True False 39 37
SEEN
"$folder/venv/bin/python" "$folder/look.py" | tee "$folder/now"
cmp "$folder/seen" "$folder/now" && echo "multiaddr 0.2.0 still does so"

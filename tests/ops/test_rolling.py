"""Whether nginx uses a new container: by the kernel's table of sockets, recorded in a container of nginx."""

from scripts.ops.rolling import peers

# It listens on 8080, and on 8000 of loopback. Three connections are to containers of web, on 8000, one of them closing;
# one is to another port.
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 10002        0 98213 1 0 100 0 0 10 0
   1: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000 10002        0 98214 1 0 100 0 0 10 0
   2: 040012AC:9C3A 050012AC:1F40 01 00000000:00000000 02:000003F2 00000000 10002        0 99104 2 0 20 4 30 10 -1
   3: 040012AC:9C3C 050012AC:1F40 01 00000000:00000000 02:000003F2 00000000 10002        0 99105 2 0 20 4 30 10 -1
   4: 040012AC:9C40 060012AC:1F40 06 00000000:00000000 03:00000A1B 00000000     0        0 0 3 0
   5: 040012AC:A1B2 070012AC:1F41 01 00000000:00000000 02:000003F2 00000000 10002        0 99107 2 0 20 4 30 10 -1
"""


def test_the_addresses_of_connected_upstreams_are_parsed() -> None:
    assert peers(TABLE, 8000) == {"172.18.0.5", "172.18.0.6"}
    assert peers(TABLE, 8001) == {"172.18.0.7"}


def test_an_unreadable_table_has_no_addresses() -> None:
    assert peers("", 8000) == set()

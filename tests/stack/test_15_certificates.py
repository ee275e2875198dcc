"""Certificates: the self-signed one of nginx, and one of the operator."""

import re
import ssl

import pytest

from tests.stack.echo import Edge
from tests.stack.programs import program
from tests.wire.polling import poll

SELF_SIGNED = "/srv/certificates/self-signed.pem"


def shown(edge: Edge) -> bytes:
    """The certificate that a client gets, in DER."""
    with edge.tls("web") as wire:
        return wire.certificate


def names_in(edge: Edge) -> set[str]:
    text = edge.exec("openssl", "x509", "-in", SELF_SIGNED, "-noout", "-ext", "subjectAltName")
    return set(re.findall(r"(?:DNS|IP Address):([^,\s]+)", text))


def test_a_self_signed_certificate_names_the_site_and_survives_a_restart(edge_with_tls: Edge) -> None:
    before = shown(edge_with_tls)
    assert names_in(edge_with_tls) == {"localhost", "127.0.0.1", "0:0:0:0:0:0:0:1", "example.com", "*.example.com"}
    modes = edge_with_tls.exec("stat", "-c", "%a %n", SELF_SIGNED)
    assert modes.startswith("600 ")
    edge_with_tls.restart()
    assert shown(edge_with_tls) == before


# Commands that prepare the folder $D -> "kept", "renewed", or a part of the refusal.
SIGN = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
    "-keyout $D/privkey.pem -out $D/fullchain.pem"
)
MAKE = "cd $D && openssl req -x509 -newkey ed25519 -nodes -keyout key -out chain -subj /CN=x"
SAVE = "cat chain key >> self-signed.pem; rm key chain"
FOLDERS: dict[str, tuple[str, str]] = {
    "one of somebody's own": (f"{SIGN} -days 3 -subj /CN=own.example", "kept"),
    "one of our making": (f"{MAKE} -days 60; echo made for localhost > self-signed.pem; {SAVE}", "kept"),
    "one of our making that ends soon": (
        f"{MAKE} -days 29; echo made for localhost > self-signed.pem; {SAVE}",
        "renewed",
    ),
    "one of our making for other names": (
        f"{MAKE} -days 60; echo made for example.com > self-signed.pem; {SAVE}",
        "renewed",
    ),
    "one of our making that was not finished": ("echo made for localhost > $D/self-signed.pem.new", "renewed"),
    "one of our making that is damaged": ("echo made for localhost > $D/self-signed.pem", "renewed"),
    "a chain without its key": (f"{SIGN} -subj /CN=own.example; rm $D/privkey.pem", "privkey.pem"),
    "a key without its chain": (f"{SIGN} -subj /CN=own.example; rm $D/fullchain.pem", "fullchain.pem"),
    "a key that may not be read": (f"{SIGN} -subj /CN=own.example; chmod 0 $D/privkey.pem", "user 10002"),
    "a key of another chain": (
        f"{SIGN} -subj /CN=own.example; openssl ecparam -genkey -name prime256v1 -noout -out $D/privkey.pem",
        "do not belong together",
    ),
    "something that is no certificate": ("echo x > $D/fullchain.pem; echo x > $D/privkey.pem", "is not a certificate"),
    "an empty folder that may not be written": ("chmod 500 $D", "cannot write"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_the_folder_of_certificates_decides_which_certificate_is_used(edge_with_tls: Edge, case: str) -> None:
    prepare, outcome = FOLDERS[case]
    output = edge_with_tls.exec(*program("try_certificates.sh"), prepare)
    if outcome == "kept":
        assert output.endswith(("exit 0\nsame\n", "exit 0\nsame\nlong\n")), output
        used = "fullchain.pem" if "own" in case else "self-signed.pem"
        assert re.search(rf"(?m)^/\S+/{used} /", output), output
    elif outcome == "renewed":
        assert output.endswith("exit 0\nother\nlong\n"), output
    else:
        assert "exit 1\nsame\n" in output, output
        assert outcome in output


def test_an_own_certificate_is_used_and_a_reload_loads_a_new_one(edge_with_tls: Edge) -> None:
    """The procedure for Let's Encrypt in docs/nginx.md. The first needs a restart; an incomplete one is refused."""
    reload = ["nginx", "-e", "stderr", "-c", "/tmp/nginx/nginx.conf", "-s", "reload"]
    # In new files: nginx takes a file with the same inode, changed in the same second, for an unchanged one.
    make = f"{SIGN.replace('$D', 'next')} -days 3 -subj $1"
    sign = f"set -e; cd /srv/certificates; mkdir next; {make}; mv next/* .; rmdir next"
    for subject in ("/CN=first.example", "/CN=second.example"):
        edge_with_tls.exec("sh", "-c", sign, "sh", subject)
        new = ssl.PEM_cert_to_DER_cert(edge_with_tls.exec("cat", "/srv/certificates/fullchain.pem"))
        if "first" in subject:
            edge_with_tls.restart()
        else:
            edge_with_tls.exec(*reload)
        poll(lambda expected=new: shown(edge_with_tls) == expected, "nginx uses it", 60)  # type: ignore[misc]  # a default binds the loop's value
    edge_with_tls.exec("sh", "-c", "cd /srv/certificates && mv privkey.pem key")
    with pytest.raises(AssertionError, match=r"privkey\.pem"):
        edge_with_tls.exec(*reload)
    assert shown(edge_with_tls) == new
    edge_with_tls.exec("sh", "-c", "cd /srv/certificates && mv key privkey.pem")
    edge_with_tls.restart()
    assert shown(edge_with_tls) == new, "the restart changed the certificate"

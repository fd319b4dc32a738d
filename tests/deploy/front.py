"""The shipped proxies' configurations, in front of gateways: only addresses and files are replaced."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from benchmarks.harness import nginx, process
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
NAME = "modu.example.org"
MAIN = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
{user}
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    include {folder}/modu.conf;
}}
"""
CPUS = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


class Front(NamedTuple):
    """A proxy that runs."""

    http: str
    https: str
    trust: ssl.SSLContext


def program(name: str) -> str:
    """The path of a Debian program; where CI is set its absence is a failure."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if not found:
        missing = f"{name} is not installed; .ci/run installs it on Debian"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    return found


def certificate(folder: Path) -> ssl.SSLContext:
    """Write fullchain.pem and privkey.pem; returns who trusts them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    text = made.public_bytes(serialization.Encoding.PEM)
    (folder / "fullchain.pem").write_bytes(text)
    (folder / "privkey.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return ssl.create_default_context(cadata=text.decode())


def replaced(text: str, pairs: dict[str, str]) -> str:
    """Each of the words stands there, and is another one now."""
    for old, new in pairs.items():
        assert old in text, f"{old!r} does not stand there any more"
        text = text.replace(old, new)
    return text


def _ports() -> tuple[int, int]:
    return process.free_port(), process.free_port()


@contextlib.contextmanager
def nginx_before(folder: Path, gateways: Sequence[str]) -> Iterator[Front]:
    """deploy/nginx/modu.conf."""
    found, trust, (plain, secure) = program("nginx"), certificate(folder), _ports()
    first, second = (url.removeprefix("http://") for url in (gateways * 2)[:2])
    places = {
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ": f"listen 127.0.0.1:{secure} ",
        "/etc/ssl/modu/": f"{folder}/",
        "/var/log/nginx/": f"{folder}/",
        "127.0.0.1:8080": first,
        "127.0.0.1:8081": second,
    }
    text = (DEPLOY / "nginx" / "modu.conf").read_text("utf-8")
    (folder / "modu.conf").write_text(replaced(text, places), "utf-8")
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=user), "utf-8")
    command = [found, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr
    with process.started(command, on=CPUS, log=folder / "front.log") as running:
        nginx.wait_for_port(secure, running, folder / "front.log")
        yield Front(f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{secure}", trust)


@contextlib.contextmanager
def caddy_before(folder: Path, gateways: Sequence[str]) -> Iterator[Front]:
    """deploy/caddy/Caddyfile, with a certificate of ours instead of one from an authority."""
    found, trust, (plain, secure) = program("caddy"), certificate(folder), _ports()
    shipped = (DEPLOY / "caddy" / "Caddyfile").read_text("utf-8")
    formatted = subprocess.run([found, "fmt", "-"], input=shipped, capture_output=True, text=True, check=True)
    assert formatted.stdout == shipped, "caddy fmt"
    ours = (
        "{\n\tadmin off\n\tauto_https disable_certs\n\tskip_install_trust\n"
        f"\thttp_port {plain}\n\thttps_port {secure}\n\t# No log"
    )
    tls = f"tls {folder}/fullchain.pem {folder}/privkey.pem"
    places = {
        "{\n\t# No log": ours,
        "\n{$MODU_SITE:modu.example.org} {\n": f"\n{{$MODU_SITE}} {{\n\t{tls}\n",
    }
    (folder / "Caddyfile").write_text(replaced(shipped, places), "utf-8")
    environ = {
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "MODU_SITE": f"https://{NAME}, https://127.0.0.1",
        "MODU_GATEWAYS": " ".join(url.removeprefix("http://") for url in gateways),
    }
    command = [found, "run", "--config", str(folder / "Caddyfile")]
    with process.started(command, on=CPUS, log=folder / "front.log", environ=environ) as running:
        nginx.wait_for_port(secure, running, folder / "front.log")
        yield Front(f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{secure}", trust)


FRONTS = {"nginx": nginx_before, "caddy": caddy_before}

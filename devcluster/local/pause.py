"""The image of pause containers and of the provisioner's helpers: two static programs of Debian's.

catatonit holds a pod's namespaces; busybox is the shell that makes and removes volumes' folders.
Written as a docker-archive by hand, so that a cluster needs no image builder.
"""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from devcluster.errors import DevclusterError

CATATONIT = Path("/usr/bin/catatonit")
BUSYBOX = Path("/bin/busybox")
APPLETS = ("sh", "mkdir", "rm", "chmod", "chown", "sleep", "cat")


def write(target: Path, name: str) -> None:
    """Write the archive of the image called `name`."""
    for program in (CATATONIT, BUSYBOX):
        if not program.exists():
            raise DevclusterError(f"{program} is missing: apt-get install catatonit busybox-static")
    layer = _layer()
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": _architecture(),
            "os": "linux",
            "config": {"Entrypoint": ["/catatonit", "-P"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w") as archive:
        _add(archive, config_name, config, 0o644)
        _add(archive, "layer.tar", layer, 0o644)
        _add(archive, "manifest.json", json.dumps(manifest).encode(), 0o644)


def _layer() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        _add(layer, "catatonit", CATATONIT.read_bytes(), 0o755)
        folder = tarfile.TarInfo("bin")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        layer.addfile(folder)
        _add(layer, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            layer.addfile(link)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    archive.addfile(info, io.BytesIO(content))


def _architecture() -> str:
    import platform

    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())

"""Which kind of cluster is taken, and what kind, Docker, buildah and Go are told to do."""

from pathlib import Path

import pytest

from devcluster import base, build, choose, components, existing, host, images, kind
from devcluster.errors import DevclusterError
from devcluster.images import Image
from devcluster.local.load import superseded


@pytest.mark.parametrize(
    ("named", "docker", "way"),
    [
        ("", True, "kind"),
        ("", False, "local"),
        ("local", True, "local"),
        ("kind", False, "kind"),
        ("existing", False, "existing"),
    ],
)
def test_the_way(named: str, docker: bool, way: str) -> None:
    assert choose.choose({"CLUSTER": named}, lambda: docker) == way
    if not named:
        assert choose.choose({}, lambda: docker) == way


def test_an_unknown_way_is_refused_by_name() -> None:
    with pytest.raises(DevclusterError, match=r"CLUSTER='minikube': use existing, kind or local"):
        choose.choose({"CLUSTER": "minikube"}, lambda: True)


def test_an_existing_cluster_needs_one_kubeconfig(tmp_path: Path) -> None:
    config = tmp_path / "config"
    with pytest.raises(DevclusterError, match="set KUBECONFIG"):
        existing.kubeconfig({"KUBECONFIG": str(config)})
    config.write_text("{}")
    assert existing.kubeconfig({"KUBECONFIG": str(config)}) == config
    with pytest.raises(DevclusterError, match="name one file"):
        existing.kubeconfig({"KUBECONFIG": f"{config}:{tmp_path / 'other'}"})


def test_images_of_an_existing_cluster_are_named_by_the_user() -> None:
    with pytest.raises(DevclusterError, match="IMAGE_PREFIX"):
        existing.image_names(["operator"], {})
    assert existing.image_names([], {}) == []
    (found,) = existing.image_names(["slave"], {"IMAGE_PREFIX": "r.example/farm/"})
    assert found.name == "r.example/farm/slave:dev"
    (found,) = existing.image_names(["slave"], {"IMAGE_PREFIX": "r.example", "IMAGE_TAG": "1.2"})
    assert found.name == "r.example/slave:1.2"
    with pytest.raises(DevclusterError, match="no image worker; there are: operator, slave"):
        existing.image_names(["worker"], {"IMAGE_PREFIX": "r.example"})


def test_kind_is_told_name_and_kubeconfig_at_every_step() -> None:
    config = Path("/c/demo.kubeconfig")
    assert kind.create_command("/b/kind", "demo", config) == [
        *("/b/kind", "create", "cluster", "--name", "demo", "--config", "-"),
        *("--kubeconfig", "/c/demo.kubeconfig", "--wait", "120s"),
    ]
    assert kind.delete_command("/b/kind", "demo", config)[1:5] == [
        *("delete", "cluster", "--name", "demo")
    ]
    loaded = [Image("operator", "drqueue.local/operator", "abc")]
    assert kind.load_command("/b/kind", "demo", loaded) == [
        *("/b/kind", "load", "docker-image", "--name", "demo", "drqueue.local/operator:abc")
    ]


def test_both_builders_take_the_same_dockerfile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRQUEUE_CACHE", str(tmp_path))
    docker = images.docker_command("slave", Path("/i"))
    assert docker[:6] == [
        "docker",
        "build",
        "--target",
        "slave",
        "--tag",
        "drqueue.local/slave:dev",
    ]
    assert docker[-1] == str(Path(images.__file__).parent.parent)
    buildah = images.buildah_command("slave", Path("/i"), Path("/p"), ["/etc/ssl/certs"])
    assert buildah[0] == "buildah"
    assert buildah[buildah.index("--target") + 1] == "slave"
    assert f"BASE={base.NAME}" in buildah
    assert "/etc/ssl/certs:/etc/ssl/certs:ro" in buildah
    assert buildah[-1] == docker[-1]


def test_pip_settings_of_this_machine_reach_the_build_but_its_secrets_files_do_not() -> None:
    listed = "\n".join(
        [
            "global.cert='/opt/ca.pem'",
            ":env:.find-links='/opt/wheels'",
            ":env:.timeout='180'",
            "user.index-url='https://user.example/'",
            "nonsense",
        ]
    )
    settings = images.pip_conf(listed)
    assert settings == "[global]\ncert = /opt/ca.pem\ntimeout = 180"
    assert images.readable_in_build(settings, Path("/none")) == ["/opt/ca.pem"]
    assert images.pip_conf("") == "[global]"


def test_a_change_of_source_changes_the_key_and_a_cache_file_does_not(tmp_path: Path) -> None:
    for name in images.CONTEXT:
        (tmp_path / name).write_text("x")
    (tmp_path / "operator" / "__pycache__").mkdir(parents=True)
    source = tmp_path / "operator" / "a.py"
    source.write_text("1")
    before = images.context_key(tmp_path)
    (tmp_path / "operator" / "__pycache__" / "a.pyc").write_text("1")
    (tmp_path / "Makefile").write_text("1")
    assert images.context_key(tmp_path) == before
    source.write_text("2")
    assert images.context_key(tmp_path) != before


@pytest.mark.parametrize(
    ("sources", "mirror"),
    [
        (["Types: deb\nURIs: http://m.example/debian\nSuites: trixie"], "http://m.example/debian"),
        (
            ["deb http://m.example/debian-security x main", "deb http://n.example/debian/ x"],
            "http://n.example/debian/",
        ),
        (["# deb http://m.example/debian x main", "deb https://other.example/apt x"], None),
        ([], None),
    ],
)
def test_the_debian_mirror_of_this_machine(sources: list[str], mirror: str | None) -> None:
    assert base.debian_mirror(sources) == mirror


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26)),
        ("go version devel go1.27-abc linux/amd64", (1, 27)),
        ("", (0, 0)),
    ],
)
def test_go_versions(said: str, version: tuple[int, int]) -> None:
    assert build.parse_go_version(said) == version


def test_each_component_has_a_locked_module_and_a_place_of_its_own() -> None:
    folders = set()
    for component in components.COMPONENTS.values():
        module = (component.source / "go.mod").read_text()
        assert (component.source / "go.sum").exists()
        for package in component.packages.values():
            assert package in module, f"{package} is no tool of {component.module}"
        assert component.version in module
        folders.add(component.folder)
    assert len(folders) == len(components.COMPONENTS)
    assert set(components.FULL) <= set(components.COMPONENTS)


def test_a_single_program_gets_its_name_and_several_a_folder() -> None:
    etcd = build.command(components.COMPONENTS["etcd"], Path("/t"))
    assert etcd[etcd.index("-o") + 1] == "/t/etcd"  # its package is called server
    plane = build.command(components.COMPONENTS["control-plane"], Path("/t"))
    assert plane[plane.index("-o") + 1] == "/t/"
    assert any("gitVersion=v1.35.1" in word for word in plane)


def test_missing_packages_are_those_not_called_installed() -> None:
    said = "mount installed\nnftables config-files\n"
    assert host.missing_from(["mount", "nftables", "buildah"], said) == ["nftables", "buildah"]


def test_old_images_make_room_but_the_one_before_stays() -> None:
    image = Image("slave", "drqueue.local/slave", "new")
    there = [f"drqueue.local/{name}" for name in ("slave:dev", "slave:old", "slave:older")]
    there.append("drqueue.local/slave-blender:older")
    assert superseded(image, there, previous="old") == ["drqueue.local/slave:older"]
    assert superseded(image, there[:2], previous=None) == ["drqueue.local/slave:old"]

"""Wrong input that admission cannot see: accepted, shown, and healed when it is mended."""

from typing import Any

import pytest

from tests.e2e.commands import QUICK
from tests.e2e.farm import Farm

pytestmark = pytest.mark.e2e
TEMPLATE: dict[str, Any] = {
    "specificationVersion": "jobtemplate-2023-09",
    "name": "own",
    "parameterDefinitions": [{"name": "Word", "type": "STRING", "default": "hello"}],
    "steps": [
        {
            "name": "Frames",
            "parameterSpace": {
                "taskParameterDefinitions": [{"name": "Frame", "type": "INT", "range": "1-2"}]
            },
            "script": {
                "actions": {
                    "onRun": {"command": "echo", "args": ["{{Param.Word}}", "{{Task.Param.Frame}}"]}
                }
            },
        }
    ],
}


def _shown(farm: Farm, reason: str, *, word: str, name: str = "job") -> None:
    """The reason stands in a condition, in an event, and in what `drqueue job show` prints."""
    condition = farm.wait_condition("RenderJob", name, reason=reason)
    assert word in condition["message"]
    farm.wait("an event", lambda: [e for e in farm.events(name) if e.startswith(reason)])
    assert word in farm.drqueue("job", "show", name).stdout


def test_session_that_comes_later(farm: Farm) -> None:
    farm.job(command=QUICK, frames="1-2")
    _shown(farm, "SessionNotFound", word="show")
    farm.session()
    farm.wait_job()


def test_class_that_comes_later(farm: Farm) -> None:
    farm.session(nodeClassName=farm.class_name)
    farm.job(command=QUICK, frames="1-2")
    farm.wait_condition("RenderSession", "show", reason="NodeClassNotFound")
    _shown(farm, "NodeClassNotFound", word=farm.class_name)
    farm.own_class()
    farm.wait_job()


def test_config_map_that_comes_later(farm: Farm) -> None:
    farm.session()
    scene = {"configMap": {"name": "late", "key": "note.txt"}}
    farm.job(command=f'cat "$DRQUEUE_SCENEFILE" && {QUICK}', frames="1-2", scene=scene)
    _shown(farm, "ConfigMapNotFound", word="late")
    assert not farm.objects("RenderNode"), "no node is paid for while the scene is missing"
    farm.create("ConfigMap", "late", data={"other.txt": "x"})
    farm.wait_condition("RenderJob", "job", reason="ConfigMapKeyNotFound")
    farm.patch("ConfigMap", "late", {"data": {"note.txt": "a scene"}})
    farm.wait_job()


def test_scene_file_missing_is_found_before_nodes_start(farm: Farm) -> None:
    farm.session()
    farm.job(
        command=f'cat "$DRQUEUE_SCENEFILE" && {QUICK}', frames="1-2", scene={"path": "in/a.txt"}
    )
    _shown(farm, "SceneMissing", word="in/a.txt")
    assert not farm.objects("RenderNode")
    farm.on_volume("mkdir -p /volume/work/in && echo scene > /volume/work/in/a.txt")
    farm.wait_job()


def test_renderer_not_offered(farm: Farm) -> None:
    name = farm.own_class(renderers=["povray"])
    farm.session(nodeClassName=name)
    farm.job(command=QUICK, frames="1-2")
    _shown(farm, "RendererNotOffered", word="general")
    farm.patch_class(name, {"spec": {"renderers": ["povray", "general"]}})
    farm.wait_job()


def test_template_refused_by_open_job_description(farm: Farm) -> None:
    farm.session()
    wrong = {**TEMPLATE, "steps": [{**TEMPLATE["steps"][0], "script": {"actions": {}}}]}
    farm.job(template=wrong, frames="1-2")
    _shown(farm, "TemplateInvalid", word="onRun")
    # a template cannot be edited: the job is deleted and applied again
    farm.delete("RenderJob", "job")
    farm.wait("the job gone", lambda: farm.get("RenderJob", "job") is None)
    farm.job(template=TEMPLATE, frames="1-2", parameters={"Word": "bye"})
    farm.wait_job()
    assert "bye 2" in farm.drqueue("job", "logs", "job", "--frame", "2").stdout


def test_parameter_that_the_template_does_not_have(farm: Farm) -> None:
    farm.session()
    farm.job(template=TEMPLATE, frames="1-2", parameters={"Wrod": "bye"})
    _shown(farm, "ParametersInvalid", word="Wrod")


def test_limits_that_no_node_can_meet(farm: Farm) -> None:
    farm.session()
    farm.job(command=QUICK, frames="1-2", limits={"cores": "4000"})
    _shown(farm, "LimitsUnsatisfiable", word="cores")
    assert not farm.objects("RenderNode")


def test_dependency_cycle_and_absent_dependency(farm: Farm) -> None:
    farm.session()
    farm.job("a", command=QUICK, frames="1", dependsOn=["b"])
    _shown(farm, "DependencyNotFound", word="b", name="a")
    farm.job("b", command=QUICK, frames="1", dependsOn=["a"])
    _shown(farm, "DependencyCycle", word="b", name="a")
    farm.delete("RenderJob", "b")
    farm.wait("b gone", lambda: farm.get("RenderJob", "b") is None)
    farm.job("b", command=QUICK, frames="1")
    farm.wait_job("a")


def test_storage_class_missing(farm: Farm) -> None:
    """That it heals is tests/api's: the cluster's provisioner serves the classes it was told of."""
    farm.session(storage={"size": "1Gi", "storageClassName": "no-such-storage"})
    farm.job(command=QUICK, frames="1")
    condition = farm.wait_condition("RenderSession", "show", reason="StorageClassNotFound")
    assert "no-such-storage" in condition["message"]


def test_image_that_cannot_be_pulled(farm: Farm) -> None:
    """Told on the session, whose nodes they are, and through it in what `job show` prints."""
    bad = {"image": "drqueue.local/no-such-image:1", "imagePullPolicy": "Never"}
    name = farm.own_class(provider={"kubernetes": bad}, startupDeadline="20s")
    farm.session(nodeClassName=name)
    farm.job(command=QUICK, frames="1")
    condition = farm.wait_condition("RenderSession", "show", reason="ImagePullFailed")
    assert "no-such-image" in condition["message"]
    farm.wait("an event", lambda: [e for e in farm.events("show") if "no-such-image" in e])
    farm.wait(
        "job show",
        lambda: "no-such-image" in farm.drqueue("job", "show", "job", check=False).stdout,
    )
    farm.delete_class(name)
    farm.own_class(name)
    farm.wait_job(timeout=240)

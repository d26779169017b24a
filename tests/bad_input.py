"""What is refused at admission: one table for the models and for the real API server."""

from typing import Any

from drqueue.api import frames
from drqueue.api.values import (
    DURATION_FORM,
    PATH_FORM,
    PATH_PART_FORM,
    QUANTITY_FORM,
    ZERO_DURATION,
    ZERO_SIZE,
)

from tests.bad_terms import (
    AT_LEAST_1,
    BAD_DURATIONS,
    BAD_NAMES,
    BAD_TERMS,
    CLASS_TERMS,
    GOOD_TERMS,
    Row,
)
from tests.manifests import GONE

MANY_PARTS = ",".join(["1"] * 300)
_PATHS = (
    "/etc/passwd",
    "../other/a.pov",
    "scenes/../../a.pov",
    "..",
    "./a.pov",
    "a//b.pov",
    "scenes/",
    "~/a.pov",
    "a\\b.pov",
    "a\nb.pov",
    "a\x00b.pov",
)
_LONG_PATHS = ("a" * 256, f"a/{'é' * 256}/b.png")
_FRAMES = (
    ("", frames.FORM),
    ("all", frames.FORM),
    ("1,,3", frames.FORM),
    ("1 - 5", frames.FORM),
    ("1-100x1.5", frames.FORM),
    ("123456789", frames.FORM),
    ("10-1", frames.REVERSED),
    ("1-5,-3--7", frames.REVERSED),
    ("1-10x0", frames.ZERO_STEP),
    ("1-10y0", frames.ZERO_STEP),
    ("1-10y1", frames.NOTHING_LEFT),
    ("1-100:5", frames.COLON),
    ("1-1000001", frames.TOO_MANY),
    ("1-600000,1-600000", frames.TOO_MANY),
    (MANY_PARTS, "512"),
)
_ONE_SCENE = "exactly one of path or configMap"
_ONE_WAY = "exactly one of renderer or template"
_CONFIG_MAP = {"name": "scene", "key": "scene.pov"}
_PRIORITIES = ((101, "less than or equal to 100"), (-1, "to 0"), ("high", "integer"))
_KUBERNETES = "spec.provider.kubernetes"


def _jobs() -> list[Row]:
    rows: list[tuple[dict[str, Any], str, str]] = [
        *(({"spec.frames": text}, "spec.frames", why) for text, why in _FRAMES),
        *(({"spec.scene": {"path": path}}, "spec.scene.path", PATH_FORM) for path in _PATHS),
        *(({"spec.output.folder": path}, "spec.output.folder", PATH_FORM) for path in _PATHS),
        *(
            ({"spec.output.files": ["a#.png", path]}, "spec.output.files[1]", PATH_FORM)
            for path in _PATHS
        ),
        *(
            (change, field, PATH_PART_FORM)
            for path in _LONG_PATHS
            for change, field in (
                ({"spec.scene": {"path": path}}, "spec.scene.path"),
                ({"spec.output.folder": path}, "spec.output.folder"),
            )
        ),
        *(
            ({f"spec.timeouts.{name}": text}, f"spec.timeouts.{name}", why)
            for name in ("frame", "environment")
            for text, why in BAD_DURATIONS
        ),
        *(({"spec.blockSize": n}, "spec.blockSize", AT_LEAST_1) for n in (0, -1)),
        ({"spec.blockSize": 10_001}, "spec.blockSize", "less than or equal to 10000"),
        ({"spec.blockSize": "2"}, "spec.blockSize", "integer"),
        *(({"spec.retries": n}, "spec.retries", AT_LEAST_1) for n in (0, -1)),
        *(({"spec.priority": n}, "spec.priority", why) for n, why in _PRIORITIES),
        ({"spec.ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished", "to 0"),
        ({"spec.template": {"steps": []}}, "spec", _ONE_WAY),
        ({"spec.renderer": GONE}, "spec", _ONE_WAY),
        ({"spec.renderer": GONE, "spec.template": "text"}, "spec.template", "object"),
        ({"spec.renderer": "POV-Ray"}, "spec.renderer", "lower-case letters"),
        ({"spec.scene": {"path": "a.pov", "configMap": _CONFIG_MAP}}, "spec.scene", _ONE_SCENE),
        ({"spec.scene": {}}, "spec.scene", _ONE_SCENE),
        (
            {"spec.scene": {"configMap": {"name": "scene", "key": ".."}}},
            "spec.scene.configMap.key",
            PATH_FORM,
        ),
        *(
            ({"spec.output.folder": folder}, "spec.output.folder", "the farm's own folders")
            for folder in ("attempts", "attempts/7", "scenes/abc")
        ),
        ({"spec.output.files": ["frame.png"]}, "spec.output.files", "# signs"),
        ({"spec.output.files": []}, "spec.output.files", "at least 1 items"),
        ({"spec.limits.cores": -1}, "spec.limits.cores", QUANTITY_FORM),
        ({"spec.limits.cores": "-1"}, "spec.limits.cores", QUANTITY_FORM),
        ({"spec.limits.memory": "4 GB"}, "spec.limits.memory", QUANTITY_FORM),
        ({"spec.parameters": {"Image Width": "1"}}, "spec.parameters", "letters, digits and _"),
        ({"spec.parameters": {"W" * 65: "1"}}, "spec.parameters", "at most 64"),
        ({"spec.parameters": {"Width": 320}}, "spec.parameters.Width", "string"),
        ({"spec.dependsOn": ["a", "a"]}, "spec.dependsOn[1]", "Duplicate value"),
        ({"spec.dependsOn": ["turntable"]}, "spec.dependsOn", "its own name"),
        ({"spec.sessionName": GONE}, "spec.sessionName", "Required value"),
        ({"spec.frames": GONE}, "spec.frames", "Required value"),
        *(({"spec.sessionName": name}, "spec.sessionName", "lower-case") for name in BAD_NAMES),
        ({"spec.sessionName": "s" * 64}, "spec.sessionName", "63"),
        ({"metadata.name": "j" * 64}, "metadata.name", "at most 63 characters"),
        ({"metadata.name": "a.b"}, "metadata.name", "letters, digits and -"),
    ]
    return [("RenderJob", *row) for row in rows]


def _sessions() -> list[Row]:
    rows: list[tuple[dict[str, Any], str, str]] = [
        *(({"spec.nodes": n}, "spec.nodes", AT_LEAST_1) for n in (0, -2)),
        ({"spec.nodes": 10_001}, "spec.nodes", "less than or equal to 10000"),
        ({"spec.nodes": GONE}, "spec.nodes", "Required value"),
        *(({"spec.renderTime": text}, "spec.renderTime", why) for text, why in BAD_DURATIONS),
        ({"spec.renderTime": 4}, "spec.renderTime", "string"),
        ({"spec.storage.size": "0"}, "spec.storage.size", ZERO_SIZE),
        ({"spec.storage.size": 0}, "spec.storage.size", ZERO_SIZE),
        ({"spec.storage.size": "-10Gi"}, "spec.storage.size", QUANTITY_FORM),
        ({"spec.storage.size": "ten"}, "spec.storage.size", QUANTITY_FORM),
        ({"spec.storage.accessMode": "ReadOnlyMany"}, "spec.storage.accessMode", "ReadWriteOnce"),
        ({"spec.storage.claimName": "Mine"}, "spec.storage.claimName", "lower-case"),
        ({"spec.nodeClassName": ""}, "spec.nodeClassName", "lower-case"),
        *(({"spec.accountName": name}, "spec.accountName", "lower-case") for name in BAD_NAMES),
        *(({"spec.priority": n}, "spec.priority", why) for n, why in _PRIORITIES),
        ({"spec.idlePolicy": "park"}, "spec.idlePolicy", "ShutdownWithDelay"),
        ({"metadata.name": "s" * 47}, "metadata.name", "at most 46 characters"),
        ({"metadata.name": "a.b"}, "metadata.name", "letters, digits and -"),
    ]
    return [("RenderSession", *row) for row in rows]


def _classes() -> list[Row]:
    sources = f"{_KUBERNETES}.environment"
    both = {"secretName": "a", "configMapName": "b"}
    volume = {"claimName": "textures", "mountPath": "/data/textures"}
    rows: list[tuple[dict[str, Any], str, str]] = [
        ({"spec.provider": {}}, "spec.provider", "give kubernetes"),
        ({"spec.provider": GONE}, "spec.provider", "Required value"),
        ({sources: [both]}, f"{sources}[0]", "exactly one of secretName or configMapName"),
        ({sources: [{}]}, f"{sources}[0]", "exactly one of secretName or configMapName"),
        ({f"{_KUBERNETES}.volumes": [volume, volume]}, f"{_KUBERNETES}.volumes[1]", "Duplicate"),
        (
            {f"{_KUBERNETES}.volumes": [{**volume, "mountPath": "/work"}]},
            f"{_KUBERNETES}.volumes[0].mountPath",
            "/mnt, /data or /assets",
        ),
        (
            {f"{_KUBERNETES}.volumes": [{**volume, "mountPath": "/data/../work"}]},
            f"{_KUBERNETES}.volumes[0].mountPath",
            "/mnt, /data or /assets",
        ),
        (
            {f"{_KUBERNETES}.tolerations": [{"value": "x"}]},
            f"{_KUBERNETES}.tolerations[0]",
            "operator: Exists",
        ),
        (
            {f"{_KUBERNETES}.tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]},
            f"{_KUBERNETES}.tolerations[0]",
            "leave value out",
        ),
        (
            {f"{_KUBERNETES}.tolerations": [{"key": "a", "tolerationSeconds": 5}]},
            f"{_KUBERNETES}.tolerations[0]",
            "effect: NoExecute",
        ),
        ({f"{_KUBERNETES}.resources.cores": 0}, f"{_KUBERNETES}.resources.cores", ZERO_SIZE),
        (
            {f"{_KUBERNETES}.resources": {"cores": 2, "coresLimit": "1500m"}},
            f"{_KUBERNETES}.resources.coresLimit",
            "below cores",
        ),
        ({"spec.renderers": []}, "spec.renderers", "at least 1 items"),
        ({"spec.renderers": ["povray", "povray"]}, "spec.renderers[1]", "Duplicate value"),
        ({"spec.pools": ["Day"]}, "spec.pools[0]", "lower-case"),
        ({"spec.startupDeadline": "0s"}, "spec.startupDeadline", ZERO_DURATION),
        ({"spec.drainGrace": "soon"}, "spec.drainGrace", DURATION_FORM),
        *CLASS_TERMS,
    ]
    return [("RenderNodeClass", *row) for row in rows]


BAD_INPUT: list[Row] = [*_jobs(), *_sessions(), *_classes(), *BAD_TERMS]

GOOD_INPUT: list[tuple[str, dict[str, Any]]] = [
    *(("RenderJob", {"spec.frames": text}) for text in ("7", "-5-5", "-5--1", "1-100x5,120")),
    *(("RenderJob", {"spec.frames": text}) for text in ("1-100y3", "3,1,2", "1,1,1-5")),
    *(("RenderJob", {"spec.frames": text}) for text in ("1-1000000", "1-2000000y2")),
    ("RenderJob", {"spec.frames": ",".join(["-1"] * 170)}),
    ("RenderJob", {"spec.frames": ",".join(["1-9y9"] * 85)}),
    ("RenderJob", {"spec.scene": {"path": "scenes/a..b/.hidden/tea pot.pov"}}),
    ("RenderJob", {"spec.scene": {"configMap": _CONFIG_MAP}}),
    ("RenderJob", {"spec.output.folder": "é" * 127 + "a/" + "b" * 255}),
    ("RenderJob", {"spec.scene": {"path": "畫" * 85}}),
    ("RenderJob", {"spec.output.folder": "attempts-of-mine/scenes/attempts"}),
    ("RenderJob", {"spec.frames": "1", "spec.output.files": ["film.mp4"]}),
    ("RenderJob", {"spec.output.files": ["beauty/####.exr", "depth_#.exr"]}),
    ("RenderJob", {"spec.limits": {"cores": 4, "memory": "16Gi", "os": "linux", "pool": "day"}}),
    ("RenderJob", {"spec.renderer": GONE, "spec.template": {"steps": [{"name": "any"}]}}),
    ("RenderJob", {"spec.parameters": {f"P{n}": "x" * 4096 for n in range(64)}}),
    ("RenderJob", {"spec.dependsOn": [f"job-{n}" for n in range(64)]}),
    ("RenderJob", {"spec.timeouts": {"frame": "1h30m", "environment": "90s"}}),
    ("RenderJob", {"metadata.name": "j" * 63}),
    ("RenderSession", {"metadata.name": "s" * 46}),
    ("RenderSession", {"spec.renderTime": "999999h", "spec.nodes": 10_000}),
    ("RenderSession", {"spec.storage": {"size": 1073741824, "accessMode": "ReadWriteOnce"}}),
    ("RenderSession", {"spec.storage": {"size": "1.5Ti", "claimName": "old", "retain": False}}),
    ("RenderNodeClass", {"spec.drainGrace": "0s"}),
    (
        "RenderNodeClass",
        {f"{_KUBERNETES}.environment": [{"secretName": "licence", "prefix": "L_"}]},
    ),
    (
        "RenderNodeClass",
        {
            _KUBERNETES: {
                "image": "registry.example/slave:1",
                "imagePullSecrets": ["pull"],
                "resources": {"cores": "500m", "memory": "2Gi", "coresLimit": 4},
                "nodeSelector": {"disk": "ssd"},
                "tolerations": [{"key": "render", "operator": "Exists", "effect": "NoSchedule"}],
                "runtimeClassName": "gvisor",
                "priorityClassName": "low",
                "volumes": [{"claimName": "textures", "mountPath": "/mnt"}],
            }
        },
    ),
    ("RenderNode", {"spec.drain": True, "spec.pools": ["day"]}),
    *GOOD_TERMS,
]

"""What somebody has to mend before a job can render, as far as the operator can see."""

import asyncio
from dataclasses import dataclass

from drqueue.control import fit, job_order, job_plan
from drqueue.control.context import Context
from drqueue.control.errors import NotFound
from drqueue.control.kinds import Key, Object
from drqueue.farm.protocol import SceneOrder
from drqueue.providers.base import Trouble
from drqueue.renderers import (
    ParametersError,
    TemplateError,
    UnknownRendererError,
    template_of,
    validate,
)


@dataclass
class Checks:
    """What was found once, of fields that are immutable."""

    template_checked: bool = False
    template: Trouble | None = None
    scene_seen: bool = False


async def find_trouble(
    ctx: Context, job: Object, session: Object | None, checks: Checks, accepted: bool
) -> Trouble | None:
    """The first trouble there is. `accepted`: the session's journal has the job, so that its
    template and scene were fine."""
    gone = job_plan.session_trouble(job, job_plan.session_of(session))
    if gone is not None or session is None:
        return gone
    namespace = job["metadata"]["namespace"]
    class_name = session["spec"]["nodeClassName"]
    node_class = ctx.store.get(Key("RenderNodeClass", None, class_name))
    if node_class is None and not accepted:
        return job_plan.class_trouble(class_name)
    if node_class is not None:
        misfit = fit.why_not(job["spec"], fit.offer_of(node_class["spec"]), class_name)
        if misfit is not None:
            return misfit
    dependency = job_plan.dependency_trouble(
        job, lambda name: ctx.store.get(Key("RenderJob", namespace, name))
    )
    if dependency is not None or accepted:
        return dependency
    if not checks.template_checked:
        # about 30 ms of CPU, and more where a template is hostile
        checks.template = await asyncio.to_thread(check_template, job)
        checks.template_checked = True
    if checks.template is not None or checks.scene_seen:
        return checks.template
    scene = await read_scene(ctx, job)
    checks.scene_seen = not isinstance(scene, Trouble)
    return scene if isinstance(scene, Trouble) else None


async def read_scene(ctx: Context, job: Object) -> SceneOrder | Trouble | None:
    """The scene with its content, where a ConfigMap has it."""
    source = (job["spec"].get("scene") or {}).get("configMap")
    if source is None:
        return job_order.scene_without_content(job)
    key = Key("ConfigMap", job["metadata"]["namespace"], source["name"])
    try:
        return job_order.scene_from(job, await ctx.client.get(key))
    except NotFound:
        return job_order.scene_from(job, None)


def check_template(job: Object) -> Trouble | None:
    """Check a job's template and parameters as Open Job Description's model does."""
    spec = job["spec"]
    try:
        template = spec.get("template") or template_of(spec["renderer"])
        validate(template, spec.get("parameters") or {}, job_order.facts(job))
    except UnknownRendererError as error:
        return Trouble("RendererNotOffered", str(error))
    except TemplateError as error:
        return Trouble("TemplateInvalid", str(error))
    except ParametersError as error:
        return Trouble("ParametersInvalid", str(error))
    return None

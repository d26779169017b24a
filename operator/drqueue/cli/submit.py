"""`drqueue job submit`: a RenderJob from options or from a manifest."""

from typing import Any

import click

from drqueue.api.job import RenderJob
from drqueue.cli.context import Run, note, pass_run
from drqueue.cli.errors import ApiError, UnreachableError
from drqueue.cli.exits import refused, usage
from drqueue.cli.kinds import JOB, SESSION, Object
from drqueue.cli.manifest import check, read_manifest, read_mapping, read_text, without_empty
from drqueue.cli.objects import name_completer
from drqueue.cli.output import output_option, print_object
from drqueue.cli.scenes import SceneFile, config_map_name, give_to, read_scene, store, take_back
from drqueue.cli.watching import follow_jobs, timeout_option

# options that are about the submission, not about the job
_NOT_SPEC = {"name", "manifest", "wait", "seconds", "dry_run", "form"}


@click.command("submit")
@click.argument("name", required=False)
@click.option(
    "-f",
    "--file",
    "manifest",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Manifest of one RenderJob, in place of the options below; - reads stdin.",
)
@click.option(
    "--session",
    metavar="NAME",
    help="Session whose nodes render it.",
    shell_complete=name_completer(SESSION),
)
@click.option("--frames", metavar="RANGE", help="Frames, as in 1-100, 1-100x5,120 or 1-100y3.")
@click.option("--renderer", metavar="NAME", help="Renderer: povray, blender, general.")
@click.option(
    "--template",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Open Job Description template (YAML or JSON), in place of a renderer.",
)
@click.option(
    "--scene",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Scene file on this disk, up to 1 MiB; sent as a ConfigMap.",
)
@click.option("--scene-path", metavar="PATH", help="Scene file in the session's volume.")
@click.option("--block-size", type=int, metavar="N", help="Frames handed out at a time. [1]")
@click.option("--priority", type=int, metavar="N", help="0 to 100; higher goes first. [50]")
@click.option("--retries", type=int, metavar="N", help="Tries of a block after a failure. [3]")
@click.option("--cores", metavar="QUANTITY", help="CPU cores that a node must have.")
@click.option("--memory", metavar="QUANTITY", help="Memory that a node must have, as in 16Gi.")
@click.option("--os", "operating_system", metavar="NAME", help="Operating system of nodes.")
@click.option("--pool", metavar="NAME", help="Only nodes that carry this pool.")
@click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="KEY=VALUE",
    help="Value of a parameter of the renderer or template. Repeatable.",
)
@click.option(
    "--depends-on",
    multiple=True,
    metavar="JOB",
    help="Job whose frames must all have succeeded first. Repeatable.",
    shell_complete=name_completer(JOB),
)
@click.option(
    "--output-folder", metavar="PATH", help="Folder in the session's volume. [outputs/NAME]"
)
@click.option(
    "--output-file",
    "output_files",
    multiple=True,
    metavar="PATTERN",
    help="File that each frame must leave, as in image####.png. Repeatable.",
)
@click.option("--frame-timeout", metavar="DURATION", help="For one frame, as in 30m.")
@click.option(
    "--environment-timeout",
    metavar="DURATION",
    help="For entering or leaving an environment of the template.",
)
@click.option(
    "--ttl",
    type=int,
    metavar="SECONDS",
    help="Delete the job (not its frames) so long after its end.",
)
@click.option("--suspend", is_flag=True, help="Do not start it yet.")
@click.option("--dry-run", is_flag=True, help="Let the server check it, and make nothing.")
@click.option(
    "--wait",
    "--watch",
    "wait",
    is_flag=True,
    help="Follow it until its end; the exit code says how it ended.",
)
@timeout_option
@output_option
@pass_run
@click.pass_context
def submit(
    ctx: click.Context,
    run: Run,
    /,
    *,
    name: str | None,
    manifest: str | None,
    wait: bool,
    seconds: float | None,
    dry_run: bool,
    form: str,
    **options: Any,
) -> None:
    """Submit a render job.

    \b
    drqueue job submit turntable --session teapots --renderer povray \\
        --scene scene.pov --frames 1-24 --block-size 2 --wait
    drqueue job submit -f job.yaml
    """
    if wait and dry_run:
        raise usage("--wait and --dry-run exclude each other: nothing would be made to wait for")
    scene: SceneFile | None = None
    if manifest is not None:
        given = sorted(_given_options(ctx))
        if given:
            raise usage(f"-f and {', '.join(given)} exclude each other: write it in the manifest")
        item = read_manifest(read_text(manifest, "manifest"), manifest, RenderJob)
    else:
        if name is None:
            raise usage("give the job a NAME, or a manifest by -f")
        item, scene = build(name, options)
    made = send_job(run, item, scene, dry_run=dry_run)
    job_name = str(made["metadata"]["name"])
    if form != "table":
        print_object(form, made)
    else:
        click.echo(f"job {job_name} {'would be submitted' if dry_run else 'submitted'}")
    if wait:
        namespace = made["metadata"]["namespace"]
        end = follow_jobs(run, namespace, [job_name], seconds, beside_output=form != "table")
        ctx.exit(int(end))


def _given_options(ctx: click.Context) -> list[str]:
    given = []
    for parameter in ctx.command.params:
        name = parameter.name or ""
        source = ctx.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE" or not parameter.expose_value:
            continue
        if name == "name":
            given.append("NAME")
        elif name not in _NOT_SPEC:
            given.append(parameter.opts[0])
    return given


def build(name: str, options: dict[str, Any]) -> tuple[Object, SceneFile | None]:
    """Make a RenderJob from the options. Raises CliError or UsageError for wrong ones."""
    if options["session"] is None or options["frames"] is None:
        raise usage("--session and --frames are wanted (or a manifest by -f)")
    if (options["renderer"] is None) == (options["template"] is None):
        raise usage("give one of --renderer and --template")
    if options["scene"] is not None and options["scene_path"] is not None:
        raise usage("--scene and --scene-path exclude each other: give one of them")
    scene = read_scene(options["scene"]) if options["scene"] is not None else None
    template = options["template"]
    spec = {
        "sessionName": options["session"],
        "renderer": options["renderer"],
        "template": None
        if template is None
        else read_mapping(read_text(template, "--template"), template, "--template"),
        "scene": _scene_source(name, scene, options["scene_path"]),
        "frames": options["frames"],
        "blockSize": options["block_size"],
        "priority": options["priority"],
        "retries": options["retries"],
        "limits": without_empty(
            {
                "cores": options["cores"],
                "memory": options["memory"],
                "os": options["operating_system"],
                "pool": options["pool"],
            }
        ),
        "dependsOn": list(options["depends_on"]),
        "parameters": parse_parameters(options["parameters"]),
        "output": without_empty(
            {
                "folder": options["output_folder"],
                "files": list(options["output_files"]),
            }
        ),
        "timeouts": without_empty(
            {
                "frame": options["frame_timeout"],
                "environment": options["environment_timeout"],
            }
        ),
        "suspend": True if options["suspend"] else None,
        "ttlSecondsAfterFinished": options["ttl"],
    }
    # not without_empty: what is inside a template or a parameter is the user's, empty or not
    given = {key: value for key, value in spec.items() if value not in (None, {}, [])}
    return {**RenderJob.type_meta(), "metadata": {"name": name}, "spec": given}, scene


def _scene_source(name: str, scene: SceneFile | None, path: str | None) -> Object | None:
    if scene is not None:
        return {"configMap": {"name": config_map_name(name, scene), "key": scene.key}}
    return {"path": path} if path is not None else None


def parse_parameters(texts: tuple[str, ...]) -> dict[str, str]:
    """Read `KEY=VALUE`s. Raises UsageError for one without `=`, or a key given twice."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise usage(f"--param {text!r}: write it as KEY=VALUE")
        if key in found:
            raise usage(f"--param {key} is given twice")
        found[key] = value
    return found


def send_job(run: Run, item: Object, scene: SceneFile | None, *, dry_run: bool) -> Object:
    """Check a job, store its scene, make the job, and let it own the scene. Raises CliError."""
    check(RenderJob, item)
    own = item["metadata"].get("namespace")
    if own and run.namespace_option and own != run.namespace_option:
        raise refused(f"metadata.namespace: {own!r}: --namespace says {run.namespace_option!r}")
    namespace = str(own or run.namespace)
    item["metadata"]["namespace"] = namespace
    if scene is None or dry_run:
        return run.cluster.create(JOB, namespace, item, dry_run=dry_run)
    # refused jobs must not leave a scene behind, so the server is asked about the job first
    run.cluster.create(JOB, namespace, item, dry_run=True)
    config_map = store(run.cluster, namespace, item["metadata"]["name"], scene)
    try:
        made = run.cluster.create(JOB, namespace, item)
    except ApiError:
        take_back(run.cluster, namespace, config_map)
        raise
    try:
        give_to(run.cluster, namespace, config_map, made)
    except (ApiError, UnreachableError) as problem:
        note(
            f"the job is submitted, but ConfigMap {config_map['metadata']['name']} "
            f"will outlive it: {problem}"
        )
    return made

"""What renders frames: an Open Job Description template a renderer, and the checks on a job's own.

    template_of("povray")                          the template, as the master hands it to slaves
    output_files("povray", "teapot", parameters)   the files that each frame must leave
    validate(template, parameters, facts)          raises TemplateError or ParametersError
    prepare(template, parameters, facts)           what a slave needs to run it

A template gets from DrQueue the job parameters in `SUPPLIED`, those of them that it declares; all
others come from a RenderJob's spec.parameters, or their defaults. Frames come from spec.frames: the
range that a template gives its task parameter is checked and then passed over.
"""

from drqueue.renderers.catalogue import RENDERERS, UnknownRendererError, output_files, template_of
from drqueue.renderers.facts import SUPPLIED, JobFacts
from drqueue.renderers.prepare import (
    ParametersError,
    PreparedJob,
    TemplateError,
    prepare,
    validate,
)

__all__ = (
    "RENDERERS",
    "SUPPLIED",
    "JobFacts",
    "ParametersError",
    "PreparedJob",
    "TemplateError",
    "UnknownRendererError",
    "output_files",
    "prepare",
    "template_of",
    "validate",
)

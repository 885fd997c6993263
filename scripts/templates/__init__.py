"""The shipped workflows, described once; `build_workflows.py` writes both of their forms from this."""

from .ar_diffusion import AR_DIFFUSION_VIDEO, CLASS_TRAVEL, CONTINUE_CLIP
from .arlon import ARLON_MOTION, ARLON_STORY, ARLON_TEXT
from .art_v import ART_V_CONTINUE, ART_V_IMAGE, ART_V_STORY, ART_V_TEXT
from .embedded import EXTEND, EXTEND_TWICE, EXTEND_VIDEO, PROMPT_TRAVEL, TEXT_TO_VIDEO
from .parts import Column, From, Node, Note, Template

__all__ = ["TEMPLATES", "Column", "From", "Node", "Note", "Template"]

TEMPLATES = (
    TEXT_TO_VIDEO,
    PROMPT_TRAVEL,
    EXTEND_TWICE,
    EXTEND,
    EXTEND_VIDEO,
    AR_DIFFUSION_VIDEO,
    CLASS_TRAVEL,
    CONTINUE_CLIP,
    ART_V_TEXT,
    ART_V_IMAGE,
    ART_V_STORY,
    ART_V_CONTINUE,
    ARLON_TEXT,
    ARLON_STORY,
    ARLON_MOTION,
)

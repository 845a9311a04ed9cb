"""What a bundle's ``config.yaml`` says of the search that made it, as far as anything here asks."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from ehrbench.app.composed.blocks import TaskBlock
from ehrbench.app.composed.checking import checked, read_written
from ehrbench.core.bundle import CONFIG
from ehrbench.core.errors import BundleError, ConfigError
from ehrbench.runtime.bundle import Bundle


class MadeBy(BaseModel):
    """metric: what the search optimised."""

    model_config = ConfigDict(extra="ignore", strict=True)

    metric: str
    task: TaskBlock


def made_by(bundle: Bundle) -> MadeBy:
    """Raises BundleError where the file is altered."""
    path = bundle.directory / CONFIG
    try:
        return checked(MadeBy, read_written(path))
    except ConfigError as error:
        raise BundleError(f"{path}: {error.key}: {error.problem} — export the bundle again") from error

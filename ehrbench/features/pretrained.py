"""Files of a pre-trained model: from a folder, or from the Hugging Face hub and its cache on this machine."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

from ehrbench.core.errors import ConfigError

_REMEDY = "name a folder with config.json, tokenizer.json and model.safetensors, or a model of the hub"
#: Seconds that the hub may take to answer.
PATIENCE_S = 10


@functools.cache
def pretrained_file(pretrained: str, name: str) -> Path:
    """The file ``name`` of the model ``pretrained``, a folder or a name on the hub.

    Raises ConfigError naming the key ``pretrained`` where neither has it; asked once in a process.
    """
    folder = Path(pretrained).expanduser()
    if folder.is_dir():
        if not (folder / name).is_file():
            raise ConfigError("pretrained", f"{folder} holds no {name}", _REMEDY)
        return folder / name
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise ConfigError(
            "pretrained",
            f"{pretrained!r} is no folder, and no hub is installed",
            'pip install "ehrbench[text]"',
        ) from None
    log = logging.getLogger("huggingface_hub")
    before = log.level
    log.setLevel(logging.ERROR)  # each try again would be a line
    try:
        return Path(hf_hub_download(pretrained, name, etag_timeout=PATIENCE_S))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        said = str(error).splitlines()[0][:100]
        problem = f"{pretrained!r} is no folder, and the hub does not give its {name} ({said})"
        raise ConfigError("pretrained", problem, _REMEDY) from None
    finally:
        log.setLevel(before)

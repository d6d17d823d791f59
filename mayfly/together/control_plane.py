"""The control plane as mayfly needs it: what every API generation can do, and nothing else."""

from collections.abc import Callable
from typing import Protocol

from mayfly.models.catalogue import ModelEntry
from mayfly.models.endpoint import Api, EndpointRef, EndpointSpec, Observation, Replicas, Use
from mayfly.models.offers import Offer


class ControlPlane(Protocol):
    """One API generation, spoken for one project.

    Every method is one short exchange that may be repeated: a create finds what an earlier one
    with the same name left behind, stop and delete treat "already gone" as done. Waiting, retrying
    and deciding belong to the caller.

    Attributes:
        project: Id of the project; "" where the API has no projects and none was named.
        inference_url: Root of the inference API that serves these endpoints, with its version.

    Raises (all methods):
        RetryableError: The same call may succeed later (408, 409, 429, 5xx, no connection).
        OutcomeUnknown: Sent, and no answer came, or one that cannot be read.
        CredentialsRefused: 401, 402 or 403.
        TerminalError: Any other refusal; the message quotes the API's words.
    """

    api: Api
    project: str
    inference_url: str

    def offers(self, model: str, *, config: str | None = None) -> list[Offer]:
        """List the hardware that `model` can be deployed on.

        Args:
            model: A name of the catalogue, or an own model's id, path or name.
            config: Only what this config runs on.

        Raises:
            BadRequest: There is no such model (the message names near ones), no config that could
                deploy it, no such config, or no such project.
        """

    def models(self, *, mine: bool) -> list[ModelEntry]:
        """List the models that can be deployed: the catalogue's, or the project's own."""

    def all_hardware(self) -> list[Offer]:
        """List every kind of hardware that can be rented, whatever the model."""

    def create(
        self, spec: EndpointSpec, *, on_known: Callable[[EndpointRef], None] = lambda _ref: None
    ) -> EndpointRef:
        """Make the endpoint stand and route requests to it, or adopt the one of that name.

        Args:
            on_known: Is given the reference as soon as there is one more id to end it by, before
                the next call.

        Raises:
            HardwareUnavailable: The API refused this hardware.
            BadRequest: This generation of the API creates nothing any more.
        """

    def find(self, name: str) -> EndpointRef | None:
        """Look an endpoint up by its name (ours or a user's, with or without slug, or its id)."""

    def observe(self, ref: EndpointRef) -> Observation:
        """Look once; an endpoint that is not there is Phase.GONE, not an error."""

    def scale(self, ref: EndpointRef, replicas: Replicas) -> None:
        """Set the bounds on replicas; a stopped endpoint starts again."""

    def stop_known(self, ref: EndpointRef) -> bool:
        """Ask that every replica ends, by the ids of the reference alone: nothing is read before.

        Returns:
            Whether a stop was asked for; False where the reference has no id to stop by.
        """

    def stop(self, ref: EndpointRef) -> None:
        """Ask that every replica ends, also of what the reference does not know of; returns
        before they have. What bills ends here."""

    def delete(self, ref: EndpointRef) -> None:
        """Remove a stopped or failed endpoint and all that belongs to it."""

    def list_endpoints(self, prefix: str) -> list[EndpointRef]:
        """List the endpoints of the project whose name begins with `prefix` ("" for all)."""

    def last_use(self, ref: EndpointRef, *, within_s: float) -> Use:
        """Return what the API itself has recorded of an endpoint's use lately.

        Args:
            within_s: How far back, in seconds.
        """

    def now(self) -> float:
        """Return Unix time by the API's clock, in seconds."""

    def close(self) -> None:
        """Let go of connections."""

"""Protocol of the control plane: the operations that every API generation supports."""

from collections.abc import Callable
from typing import Protocol

from mayfly.models.catalogue import ModelEntry
from mayfly.models.endpoint import (
    Api,
    EndpointRef,
    EndpointSpec,
    Observation,
    Replicas,
    TimeToFirstToken,
    Use,
)
from mayfly.models.offers import Offer


class ControlPlane(Protocol):
    """The endpoints of one project, through one API generation.

    Every method is idempotent: a create adopts an endpoint of the same name, stop and delete
    treat "already deleted" as success. Waiting, retrying and deciding are up to the caller.

    Attributes:
        project: Id of the project; "" if the API has no projects and none was named.
        inference_url: Root of the inference API that serves these endpoints, with its version.

    Raises (all methods):
        RetryableError: The same call may succeed later (408, 409, 429, 5xx, no connection).
        OutcomeUnknown: Sent, but there was no response, or one that cannot be parsed.
        CredentialsRefused: 401, 402 or 403.
        TerminalError: Any other rejection; the message quotes the API's message.
    """

    api: Api
    project: str
    inference_url: str

    def offers(self, model: str, *, config: str | None = None) -> list[Offer]:
        """List the hardware that `model` can be deployed on.

        Args:
            model: A name of the catalogue, or an own model's id, path or name.
            config: Only the hardware of this config.

        Raises:
            BadRequest: There is no such model (the message names similar ones), no config that
                can deploy it, no such config, or no such project.
        """

    def models(self, *, mine: bool) -> list[ModelEntry]:
        """List the models that can be deployed: the catalogue's, or the project's own."""

    def all_hardware(self) -> list[Offer]:
        """List all hardware that can be rented, for any model."""

    def create(
        self, spec: EndpointSpec, *, on_known: Callable[[EndpointRef], None] = lambda _ref: None
    ) -> EndpointRef:
        """Create the endpoint and route requests to it, or adopt the one of that name.

        Args:
            on_known: Called with the reference as soon as a further id is known, before the next
                call, so that a crash leaves nothing that cannot be deleted.

        Raises:
            HardwareUnavailable: The API rejected this hardware.
            BadRequest: This generation of the API no longer creates endpoints.
        """

    def find(self, name: str) -> EndpointRef | None:
        """Return an endpoint by its name (with or without the project's slug) or id, or None."""

    def observe(self, ref: EndpointRef) -> Observation:
        """Poll the endpoint once; one that does not exist is Phase.GONE, not an error."""

    def scale(self, ref: EndpointRef, replicas: Replicas) -> None:
        """Set the bounds on replicas; a stopped endpoint starts again."""

    def stop_known(self, ref: EndpointRef) -> bool:
        """Request that all replicas stop, by the ids in the reference alone, without reading.

        Returns:
            Whether a stop was requested; False if the reference has no id.
        """

    def stop(self, ref: EndpointRef) -> None:
        """Request that all replicas stop, including deployments that the reference does not name.

        Returns before they have stopped.
        """

    def delete(self, ref: EndpointRef) -> None:
        """Delete a stopped or failed endpoint with its deployments."""

    def list_endpoints(self, prefix: str) -> list[EndpointRef]:
        """List the endpoints of the project whose name begins with `prefix` ("" for all)."""

    def last_use(self, ref: EndpointRef, *, within_s: float) -> Use:
        """Return what the API has recorded about an endpoint's recent use.

        Args:
            within_s: Length of the period that ends now, in seconds.
        """

    def time_to_first_token(self, ref: EndpointRef) -> TimeToFirstToken:
        """Return what the API has measured at an endpoint in its last 24 hours."""

    def now(self) -> float:
        """Return Unix time by the API's clock, in seconds."""

    def close(self) -> None:
        """Close the connections."""

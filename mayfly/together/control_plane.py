"""The control plane as mayfly needs it: what every API generation can do, and nothing else."""

from typing import Protocol

from mayfly.models.endpoint import Api, EndpointRef, EndpointSpec, Observation, Replicas
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

    def offers(self, model: str) -> list[Offer]:
        """List the hardware that `model` can be deployed on.

        Raises:
            BadRequest: There is no such model (the message names close ones), or no such project.
        """

    def all_hardware(self) -> list[Offer]:
        """List every kind of hardware that can be rented, whatever the model."""

    def create(self, spec: EndpointSpec) -> EndpointRef:
        """Make the endpoint stand and route requests to it, or adopt the one of that name.

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

    def stop(self, ref: EndpointRef) -> None:
        """Ask that every replica ends; returns before they have. What bills ends here."""

    def delete(self, ref: EndpointRef) -> None:
        """Remove a stopped or failed endpoint and all that belongs to it."""

    def list_endpoints(self, prefix: str) -> list[EndpointRef]:
        """List the endpoints of the project whose name begins with `prefix` ("" for all)."""

    def close(self) -> None:
        """Let go of connections."""

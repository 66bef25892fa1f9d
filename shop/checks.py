"""System checks of the shop: implementations match their contracts, and messages outlive open orders."""

import inspect
from collections.abc import Iterator
from datetime import timedelta
from itertools import zip_longest
from typing import Any, get_type_hints

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning, register
from django.utils.module_loading import import_string

from shop.api.error_codes import CODES
from shop.calls.wire import errors_of, functions_of
from shop.contracts.carriers import ADAPTERS as CARRIER_ADAPTERS
from shop.contracts.messengers import EMAIL_SERVICES, SMS_SERVICES
from shop.contracts.offers import OFFERS
from shop.contracts.payments import ADAPTERS, AT_HAND_OVER

HINT = "The caller may be another process: it sends and reads what the contract says."


CONSOLE_SMS = "notifications.senders.ConsoleSms"  # the default


@register("contracts")
def check_offers(**_kwargs: Any) -> list[CheckMessage]:
    """Compare each implementation here with its contract, and the contracts' errors with the API's."""
    found: list[CheckMessage] = []
    for contract, offer in OFFERS.items():
        found += undocumented_errors(contract)
        if not offer.service or apps.is_installed(offer.service):
            found += differences(contract, import_string(offer.implementation))
    return found


@register("security", deploy=True)
def check_sandbox(**_kwargs: Any) -> list[CheckMessage]:
    """Report each simulated part: with SANDBOX as a warning, without it as something that the shop cannot do yet."""
    gateways = ", ".join(name for name, one in settings.PAYMENT_GATEWAYS.items() if one.adapter == "sandbox")
    payments, delivery = bool(gateways) and apps.is_installed("payments"), apps.is_installed("delivery")
    if settings.SANDBOX:
        hint = "For demonstrations only. Leave SANDBOX unset in a shop that sells something."
        charging = f"SANDBOX: {gateways} take no money; the payment's token says whether they charge."
        carriers = ", ".join(name for name, one in settings.CARRIERS.items() if one.adapter == "sandbox")
        arriving = f"SANDBOX: parcels of {carriers} arrive by themselves; an address says whether they are refused."
        found: list[CheckMessage] = []
        found += [Warning(charging, hint=hint, id="shop.W001")] if payments else []
        found += [Warning(arriving, hint=hint, id="shop.W002")] if delivery and carriers else []
    else:
        declining = f"Payments by {gateways} are declined: they are only sandboxes (PAYMENT_GATEWAYS)."
        waiting = "No carrier is configured: paid orders are cancelled at their deadline (CARRIERS)."
        found = [Info(declining, id="shop.I001")] if payments else []
        found += [Info(waiting, id="shop.I002")] if delivery and not settings.CARRIERS else []
    if apps.is_installed("notifications") and settings.SMS_SENDER == CONSOLE_SMS:
        said = "Text messages are written to the log, not sent: set SMS_SERVICE, or SMS_SENDER."
        found.append(Info(said, id="shop.I003"))
    return found


@register("payments")
def check_gateways(**_kwargs: Any) -> list[CheckMessage]:
    """Check that each configured gateway has its required options and accepts them."""
    found: list[CheckMessage] = []
    if not apps.is_installed("payments"):
        return found
    for name, configured in settings.PAYMENT_GATEWAYS.items():
        adapter = ADAPTERS[configured.adapter]
        missing = [f"GATEWAY_{name}_{option.upper()}" for option in adapter.wants if not configured.options.get(option)]
        if missing:
            said = f"The payment gateway {name} lacks {', '.join(missing)}."
            found.append(Error(said, hint="Or name a file that has it: …_FILE.", id="shop.E003"))
            continue
        try:
            made = import_string(adapter.path)(name, configured.options)
        except ValueError as error:
            found.append(Error(f"The payment gateway {name} cannot use its options: {error}.", id="shop.E004"))
            continue
        if settings.PAYMENT_CAPTURE == AT_HAND_OVER and not made.capabilities.separate_capture:
            said = f"The payment gateway {name} cannot hold money: it is taken at once (PAYMENT_CAPTURE)."
            found.append(Info(said, id="shop.I004"))
    return found


@register("security", deploy=True)
def check_gateway_keys(**_kwargs: Any) -> list[CheckMessage]:
    """Warn of a provider's test keys and of stand-ins: neither takes real money."""
    found: list[CheckMessage] = []
    for name, configured in settings.PAYMENT_GATEWAYS.items() if apps.is_installed("payments") else ():
        marks = ADAPTERS[configured.adapter].test_mode.items()
        if any(configured.options.get(option, "").startswith(start) for option, start in marks):
            hint = "Set the provider's live key. Every order is paid with money that does not exist."
            found.append(Warning(f"The payment gateway {name} has a key for tests.", hint=hint, id="shop.W003"))
        if configured.options.get("url"):
            found.append(Warning(f"The payment gateway {name} calls {configured.options['url']}.", id="shop.W004"))
    return found


@register("security", deploy=True)
def check_carriers(**_kwargs: Any) -> list[CheckMessage]:
    """Check that configured carriers have their required options, and a secret if they report by our webhook."""
    found: list[CheckMessage] = []
    if not apps.is_installed("delivery"):
        return found
    for name, (adapter, options) in settings.CARRIERS.items():
        missing = [option for option in CARRIER_ADAPTERS[adapter].required if not options.get(option)]
        if missing:
            variables = ", ".join(f"CARRIER_{name}_{option.upper()}" for option in missing)
            found.append(Error(f"The carrier {name} needs {variables}.", hint="Or …_FILE.", id="shop.E005"))
        if adapter == "numbered" and name not in settings.CARRIER_SECRETS:
            silent = f"The carrier {name} cannot report: it has no secret in CARRIER_WEBHOOK_SECRETS."
            found.append(Warning(silent, id="shop.W005"))
    return found


@register("security", deploy=True)
def check_messengers(**_kwargs: Any) -> list[CheckMessage]:
    """Check that the e-mail and SMS services have their required options."""
    found: list[CheckMessage] = []
    if not apps.is_installed("notifications"):
        return found
    if name := settings.EMAIL_SERVICE:
        if f"{name}_{EMAIL_SERVICES[name].key}".upper() not in settings.ANYMAIL:
            found.append(Error(f"{name} needs EMAIL_SERVICE_KEY.", hint="Or …_FILE.", id="shop.E006"))
        if ":" not in settings.ANYMAIL.get("WEBHOOK_SECRET", ""):
            silent = "Bounces and complaints are not heard: set EMAIL_SERVICE_WEBHOOK_SECRET=user:password."
            found.append(Warning(silent, id="shop.W006"))
    if (name := settings.SMS_SERVICE) and SMS_SERVICES[name].path == settings.SMS_SENDER:
        missing = [option for option in SMS_SERVICES[name].required if not settings.SMS_OPTIONS.get(option)]
        if missing:
            variables = ", ".join(f"SMS_SERVICE_{option.upper()}" for option in missing)
            found.append(Error(f"{name} needs {variables}.", hint="Or …_FILE.", id="shop.E007"))
    return found


@register("orders")
def check_returns(**_kwargs: Any) -> list[CheckMessage]:
    """Check the owner's settings about returns: the days, and that each rule is a function that can be called."""
    found: list[CheckMessage] = []
    if not apps.is_installed("orders"):
        return found
    if settings.RETURN_WITHIN.days < 0:
        found.append(Error("RETURN_WITHIN is a number of days, 0 or more.", id="shop.E008"))
    if settings.RETURN_ARRIVES_WITHIN.days < 1:
        hint = "A parcel needs some days. A return whose parcel does not come in time expires."
        found.append(Error("RETURN_ARRIVES_WITHIN is a number of days, 1 or more.", hint=hint, id="shop.E008"))
    return [*found, *_broken_rule("RETURN_APPROVAL", "return"), *_broken_rule("RETURN_KEEPS", "return, amount")]


@register("inventory")
def check_fulfilment(**_kwargs: Any) -> list[CheckMessage]:
    """Check that the owner's rule about stock is a function that can be called."""
    return [*_broken_rule("FULFILMENT_RULE", "wanted, free")] if apps.is_installed("inventory") else []


def _broken_rule(setting: str, arguments: str) -> Iterator[CheckMessage]:
    path = getattr(settings, setting)
    try:
        inspect.signature(import_string(path)).bind(*arguments.split(", "))
    except (ImportError, TypeError, ValueError) as error:
        said = f"{setting} names no rule, {path}: {error}."
        yield Error(said, hint=f"The path of a function of ({arguments}).", id="shop.E009")


def differences(contract: type, implementation: type) -> Iterator[CheckMessage]:
    """Where a class differs from its Protocol: a missing method, a parameter, a return type."""
    for name, promised in functions_of(contract).items():
        where = f"{implementation.__name__}.{name}"
        kept = getattr(implementation, name, None)
        if not inspect.isfunction(kept):
            yield Error(f"{where} is missing; {contract.__name__} promises it.", hint=HINT, id="contracts.E001")
            continue
        for one, other in zip_longest(_parameters(promised), _parameters(kept)):
            if one != other:
                said = f"{contract.__name__} says {_shown(one)}, {where} has {_shown(other)}."
                yield Error(said, hint=HINT, id="contracts.E002")
        one, other = get_type_hints(promised).get("return"), get_type_hints(kept).get("return")
        if one != other:
            said = f"{contract.__name__} says that {name} returns {_type(one)}, {where} returns {_type(other)}."
            yield Error(said, hint=HINT, id="contracts.E003")


def undocumented_errors(contract: type) -> Iterator[CheckMessage]:
    """The errors of a contract whose code the API does not know."""
    for name, error in errors_of(contract).items():
        if error.code not in CODES:
            said = f"{name} of {contract.__name__} has the code {error.code}, which is not in shop/api/error_codes.py."
            yield Error(said, id="contracts.E004")


def _parameters(function: Any) -> list[inspect.Parameter]:
    """A method's parameters after `self`, their annotations as types."""
    types = get_type_hints(function)
    _, *parameters = inspect.signature(function).parameters.values()
    return [one.replace(annotation=types.get(one.name, inspect.Parameter.empty)) for one in parameters]


def _shown(parameter: inspect.Parameter | None) -> str:
    if parameter is None:
        return "no more parameters"
    kind = "" if parameter.kind is parameter.POSITIONAL_OR_KEYWORD else f" ({parameter.kind.description})"
    return f"`{parameter}`{kind}"


def _type(annotation: Any) -> str:
    return "nothing said" if annotation is None else inspect.formatannotation(annotation)


@register("sagas")
def check_retention(**_kwargs: Any) -> list[CheckMessage]:
    """A stalled order is resumed by its messages, so they must outlive it by far."""
    longest, kept = timedelta(seconds=settings.ORDER_DEADLINE), settings.SAGAS.retention
    if longest * 10 <= kept:
        return []
    said = f"RETENTION_DAYS keeps messages for {kept}, and an order may be open for {longest} and more."
    hint = "A stalled order is resumed by its messages: keep them for ten deadlines at the least."
    return [Error(said, hint=hint, id="shop.E001")]


@register("sagas")
def check_privacy(**_kwargs: Any) -> list[CheckMessage]:
    """Messages repeat the addresses in rows, so erasing rows earlier than messages would achieve nothing."""
    after, kept = settings.PRIVACY_AFTER, settings.SAGAS.retention
    if after >= kept:
        return []
    said = (
        f"PRIVACY_AFTER forgets addresses after {after.days} days, and RETENTION_DAYS keeps messages for {kept.days}."
    )
    return [Error(said, hint="Messages have the addresses, too: make RETENTION_DAYS the smaller one.", id="shop.E002")]

"""What customers read unless a template says otherwise (`templates.py`), as data.

For each type of notification and each language there are a subject, an e-mail and an SMS.

`{order}`, `{name}`, `{tracking}`, `{reason}`, `{return}`, `{exchange}`, `{amount}`, `{until}` and `{where}` are
filled in. An SMS names nobody, and a carrier may write anything: it is read on locked screens, and by whoever has the
number now.
"""

from typing import NamedTuple

from notifications.models import Notification
from shop.contracts import reasons

Type = Notification.Type

DEFAULT_LANGUAGE = "en"


class Text(NamedTuple):
    """One notification in one language."""

    subject: str
    body: str
    sms: str


LETTERS = {
    "ko": "{name}님, 안녕하세요.\n\n{body}\n\n감사합니다.\nShop 드림\n",
    "en": "Hello {name},\n\n{body}\n\nThank you,\nShop\n",
}

TEXTS = {
    Type.ORDER_RECEIVED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번이 접수되었습니다",
            body="주문 {order}번을 잘 받았습니다. 상품이 출발하면 다시 알려 드리겠습니다.",
            sms="[Shop] 주문 {order}번이 접수되었습니다.",
        ),
        "en": Text(
            subject="[Shop] We have received order {order}",
            body="We have received your order {order} and will write again when it is on its way.",
            sms="[Shop] We have received your order {order}.",
        ),
    },
    Type.PAYMENT_DUE: {
        "ko": Text(
            subject="[Shop] 주문 {order}번의 결제를 기다리고 있습니다",
            body="주문 {order}번의 금액 {amount}을 {until}까지 결제해 주세요. 그때까지 상품을 준비해 두겠습니다.\n\n"
            "{where}",
            sms="[Shop] 주문 {order}번 {amount}, {until}까지 결제해 주세요.\n{where}",
        ),
        "en": Text(
            subject="[Shop] Order {order} waits for your payment",
            body="Please pay {amount} for your order {order} by {until}. We keep it for you until then.\n\n{where}",
            sms="[Shop] Please pay {amount} for order {order} by {until}.\n{where}",
        ),
    },
    Type.REFUNDED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번의 {amount}이 환불되었습니다",
            body="주문 {order}번의 결제 금액 중 {amount}을 환불해 드렸습니다.",
            sms="[Shop] 주문 {order}번의 {amount}이 환불되었습니다.",
        ),
        "en": Text(
            subject="[Shop] {amount} of order {order} has been refunded",
            body="We have refunded {amount} of what you paid for order {order}.",
            sms="[Shop] We have refunded {amount} of order {order}.",
        ),
    },
    Type.ORDER_CHANGED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번이 변경되었습니다",
            body="주문 {order}번이 요청하신 대로 변경되었습니다. 변경 후 주문 금액은 {amount}이며, "
            "차액은 결제하신 수단으로 정산되었습니다.",
            sms="[Shop] 주문 {order}번이 변경되었습니다.",
        ),
        "en": Text(
            subject="[Shop] Order {order} has been changed",
            body="Your order {order} has been changed as requested. It now comes to {amount}; the difference has been "
            "settled by your means of payment.",
            sms="[Shop] Your order {order} has been changed.",
        ),
    },
    Type.ADDRESS_CHANGED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번의 배송지가 변경되었습니다",
            body="주문 {order}번이 요청하신 대로 변경되어 새 배송지로 배송됩니다. 주문 금액은 {amount}이며, 차액이 "
            "있는 경우 결제하신 수단으로 정산되었습니다. 요청하신 적이 없다면 바로 알려 주세요.",
            sms="[Shop] 주문 {order}번의 배송지가 변경되었습니다. 요청하신 적이 없다면 바로 알려 주세요.",
        ),
        "en": Text(
            subject="[Shop] Order {order} goes to another address",
            body="Your order {order} has been changed as requested and goes to the new address. It comes to {amount}; "
            "if that is less than before, the difference has been settled by your means of payment. If you did not ask "
            "for this, please tell us at once.",
            sms="[Shop] Your order {order} goes to another address. If you did not ask for that, please tell us now.",
        ),
    },
    Type.CHANGE_REFUSED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번을 변경하지 못했습니다",
            body="주문 {order}번의 변경 요청을 처리하지 못했습니다. 주문은 그대로 유지됩니다.\n사유: {reason}",
            sms="[Shop] 주문 {order}번을 변경하지 못했습니다. 사유: {reason}",
        ),
        "en": Text(
            subject="[Shop] Order {order} could not be changed",
            body="Your order {order} could not be changed as requested and stays as it was.\nReason: {reason}",
            sms="[Shop] Your order {order} could not be changed. Reason: {reason}",
        ),
    },
    Type.SHIPPED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번의 배송이 시작되었습니다",
            body="결제가 완료되어 주문 {order}번의 배송이 시작되었습니다. 운송장 번호는 {tracking}입니다.",
            sms="[Shop] 주문 {order}번 배송 시작. 운송장 번호 {tracking}",
        ),
        "en": Text(
            subject="[Shop] Order {order} is on its way",
            body="Your payment went through and your order {order} is on its way. Its tracking number is {tracking}.",
            sms="[Shop] Your order {order} is on its way, tracking number {tracking}.",
        ),
    },
    Type.DELIVERED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번이 배송 완료되었습니다",
            body="주문 {order}번(운송장 번호 {tracking})이 배송 완료되었습니다.",
            sms="[Shop] 주문 {order}번이 배송 완료되었습니다.",
        ),
        "en": Text(
            subject="[Shop] Order {order} has been delivered",
            body="Your order {order} (tracking number {tracking}) has been delivered.",
            sms="[Shop] Your order {order} has been delivered.",
        ),
    },
    Type.COMPLETED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번이 완료되었습니다",
            body="주문 {order}번이 완료되었습니다. 이용해 주셔서 고맙습니다.",
            sms="[Shop] 주문 {order}번이 완료되었습니다.",
        ),
        "en": Text(
            subject="[Shop] Order {order} is complete",
            body="Your order {order} is complete. It was a pleasure to serve you.",
            sms="[Shop] Your order {order} is complete.",
        ),
    },
    Type.CANCELLED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번이 취소되었습니다",
            body="주문 {order}번이 취소되었습니다. 결제된 금액이 있다면 전액 환불되었습니다.\n사유: {reason}",
            sms="[Shop] 주문 {order}번이 취소되었습니다. 사유: {reason}",
        ),
        "en": Text(
            subject="[Shop] Order {order} has been cancelled",
            body="Your order {order} has been cancelled. Whatever you had paid has been refunded in full.\n"
            "Reason: {reason}",
            sms="[Shop] Your order {order} has been cancelled. Reason: {reason}",
        ),
    },
    Type.DELIVERY_FAILED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번을 배송하지 못했습니다",
            body="주문 {order}번을 배송하지 못했습니다. 결제 금액은 환불되고 주문은 취소됩니다.\n사유: {reason}",
            sms="[Shop] 주문 {order}번을 배송하지 못했습니다. 환불을 진행합니다.",
        ),
        "en": Text(
            subject="[Shop] Order {order} could not be delivered",
            body="Your order {order} could not be delivered. It will be refunded and cancelled.\nReason: {reason}",
            sms="[Shop] Your order {order} could not be delivered. You will be refunded.",
        ),
    },
    Type.SHIPMENT_FAILED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번의 일부를 배송하지 못했습니다",
            body="주문 {order}번의 여러 배송 가운데 하나를 배송하지 못했습니다. 해당 상품의 금액은 환불되며, 나머지 "
            "상품은 그대로 배송됩니다.\n사유: {reason}",
            sms="[Shop] 주문 {order}번의 일부를 배송하지 못했습니다. 해당 금액의 환불을 진행합니다.",
        ),
        "en": Text(
            subject="[Shop] A part of order {order} could not be delivered",
            body="One of the parcels of your order {order} could not be delivered. You will be refunded what is in it; "
            "the rest is on its way as before.\nReason: {reason}",
            sms="[Shop] A part of your order {order} could not be delivered. You will be refunded for it.",
        ),
    },
    Type.RETURN_APPROVED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번의 반품 신청이 승인되었습니다",
            body="주문 {order}번의 반품({return}번)이 승인되었습니다. 상품을 포장해 보내 주세요. "
            "반품 운송장 번호는 {tracking}입니다.",
            sms="[Shop] 주문 {order}번 반품({return}번) 승인. 반품 운송장 번호 {tracking}",
        ),
        "en": Text(
            subject="[Shop] Your return of order {order} is approved",
            body="Your return {return} of order {order} is approved. Please pack the goods and send them back. "
            "The parcel's tracking number is {tracking}.",
            sms="[Shop] Your return {return} of order {order} is approved, tracking number {tracking}.",
        ),
    },
    Type.RETURN_RECEIVED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번의 반품 상품이 도착했습니다",
            body="주문 {order}번의 반품({return}번) 상품이 도착했습니다. 상품을 확인한 뒤 다시 알려 드리겠습니다.",
            sms="[Shop] 주문 {order}번 반품({return}번) 상품이 도착했습니다.",
        ),
        "en": Text(
            subject="[Shop] Your return of order {order} has arrived",
            body="What you sent back of order {order} (return {return}) has arrived. We will look at it and "
            "write again.",
            sms="[Shop] Your return {return} of order {order} has arrived.",
        ),
    },
    Type.RETURN_EXCHANGED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번의 교환 상품을 준비하고 있습니다",
            body="주문 {order}번의 교환({return}번) 상품을 주문 {exchange}번으로 보내 드립니다. 추가 결제는 없습니다. "
            "보내 드리지 못하는 상품이 있으면 그 금액을 환불해 드립니다.",
            sms="[Shop] 주문 {order}번 교환({return}번) 상품을 주문 {exchange}번으로 보내 드립니다.",
        ),
        "en": Text(
            subject="[Shop] Your exchange for order {order} is on its way",
            body="What you exchange of order {order} (return {return}) is on its way to you as order {exchange}. There "
            "is nothing to pay. If we cannot send all of it, we refund the rest.",
            sms="[Shop] Your exchange for order {order} (return {return}) is on its way as order {exchange}.",
        ),
    },
    Type.RETURN_REFUNDED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번의 반품이 완료되었습니다",
            body="주문 {order}번의 반품({return}번)이 완료되었습니다. 환불 금액은 {amount}입니다.",
            sms="[Shop] 주문 {order}번 반품({return}번) 완료. 환불 금액 {amount}",
        ),
        "en": Text(
            subject="[Shop] Your return of order {order} is complete",
            body="Your return {return} of order {order} is complete. You have been refunded {amount}.",
            sms="[Shop] Your return {return} of order {order} is complete, refunded: {amount}.",
        ),
    },
    Type.RETURN_REFUSED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번의 반품 신청이 거절되었습니다",
            body="주문 {order}번의 반품({return}번) 신청을 받아들일 수 없습니다. "
            "사유는 반품 내역에서 확인하실 수 있습니다.",
            sms="[Shop] 주문 {order}번 반품({return}번) 신청이 거절되었습니다.",
        ),
        "en": Text(
            subject="[Shop] Your return of order {order} was not accepted",
            body="We cannot accept your return {return} of order {order}. The reason is shown with the return.",
            sms="[Shop] We cannot accept your return {return} of order {order}.",
        ),
    },
    Type.RETURN_CLOSED: {
        "ko": Text(
            subject="[Shop] 주문 {order}번의 반품이 종료되었습니다",
            body="주문 {order}번의 반품({return}번)이 상품을 받지 않은 상태로 종료되었습니다.",
            sms="[Shop] 주문 {order}번 반품({return}번)이 종료되었습니다.",
        ),
        "en": Text(
            subject="[Shop] Your return of order {order} is closed",
            body="Your return {return} of order {order} is closed: nothing was sent back.",
            sms="[Shop] Your return {return} of order {order} is closed.",
        ),
    },
}


# About an account itself, `{link}` to be filled in: subject and e-mail. They name nobody.
LETTERS_ABOUT_ACCOUNTS = {
    "VERIFY": {
        "ko": (
            "[Shop] 이메일 주소를 확인해 주세요",
            (
                "이 주소로 Shop 계정이 만들어졌습니다. 사흘 안에 아래 링크에서 확인해 주세요. "
                "확인하기 전에는 다른 메일을 보내지 않습니다."
                "\n\n{link}\n\n직접 만든 계정이 아니라면 이 메일을 무시하세요.\n"
            ),
        ),
        "en": (
            "[Shop] Please confirm your e-mail address",
            (
                "An account at Shop was opened with this address. Please confirm it within three days; until then "
                "we send nothing else.\n\n{link}\n\nIf that was not you, ignore this message.\n"
            ),
        ),
    },
    "RESET": {
        "ko": (
            "[Shop] 비밀번호 재설정",
            (
                "아래 링크에서 하루 안에 새 비밀번호를 정할 수 있습니다. 모든 기기에서 로그아웃됩니다.\n\n{link}\n\n"
                "직접 요청하지 않았다면 이 메일을 무시하세요. 비밀번호는 그대로입니다.\n"
            ),
        ),
        "en": (
            "[Shop] Set another password",
            (
                "Within a day you can set another password here. That signs you out everywhere.\n\n{link}\n\n"
                "If you did not ask for this, ignore this message: your password stays as it is.\n"
            ),
        ),
    },
}


# Where a payment is made: on a page, or by a transfer to an account. An SMS does not name its holder.
PAGE = {"ko": "결제하기: {url}", "en": "Pay here: {url}"}
TRANSFER = {
    "ko": "은행: {bank}\n계좌번호: {account}\n예금주: {holder}\n{url}",
    "en": "Bank: {bank}\nAccount: {account}\nAccount holder: {holder}\n{url}",
}
TRANSFER_BY_SMS = {"ko": "{bank} {account}", "en": "{bank}, account {account}"}

# Why an order was cancelled, or not changed, by what a reason of ours begins with; any other is given as it came.
REASONS = {
    reasons.INSUFFICIENT_STOCK: {"ko": "재고가 부족합니다.", "en": "there is not enough in stock."},
    reasons.PAYMENT_DECLINED: {"ko": "결제가 거절되었습니다.", "en": "your payment was declined."},
    reasons.UNKNOWN_GATEWAY: {"ko": "사용할 수 없는 결제 수단입니다.", "en": "the means of payment is not available."},
    reasons.REFUSED_BY_CARRIER: {"ko": "택배사가 인수를 거부했습니다.", "en": "the carrier refused the parcel."},
    reasons.REFUSED_BY_RECIPIENT: {"ko": "수령이 거부되었습니다.", "en": "the parcel was refused at the door."},
    reasons.FAILED_WITH_CARRIER: {"ko": "배송 중 문제가 발생했습니다.", "en": "something went wrong on the way."},
    reasons.NO_ADDRESS: {"ko": "배송지 정보가 남아 있지 않습니다.", "en": "we do not keep your address any more."},
    reasons.BY_CUSTOMER: {"ko": "고객님의 요청으로 취소되었습니다.", "en": "you asked us to."},
    reasons.BY_STAFF: {"ko": "판매자가 주문을 취소하였습니다.", "en": "we had to cancel it."},
    reasons.WITH_CARRIER: {"ko": "상품이 이미 택배사에 전달되었습니다.", "en": "the carrier already has the parcel."},
    reasons.NOT_TO_LEAVE: {"ko": "주문이 취소되었거나 취소 중입니다.", "en": "the order is cancelled, or about to be."},
    reasons.NOT_SO_MUCH: {
        "ko": "환불할 수 있는 금액이 부족합니다.",
        "en": "less is left of your payment than there would be to refund.",
    },
    reasons.NOT_GIVEN_BACK: {
        "ko": "결제사에서 환불을 거절했습니다.",
        "en": "the payment provider has refused the refund.",
    },
    reasons.OVERDUE: {
        "ko": "기한 내에 택배사에 전달하지 못했습니다.",
        "en": "we could not hand it to the carrier in time.",
    },
}

"""Put the sample catalogue, its stock and a few users into the databases; what is there already stays as it is."""

from argparse import ArgumentParser
from secrets import token_urlsafe
from typing import Any, NamedTuple

import environ
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import import_string


class Sample(NamedTuple):
    id: int
    name: str
    price: int  # ₩
    category: str
    stock: int
    brand: str
    description: str


PRODUCTS = (
    Sample(1, "MacBook Pro 16", 3500000, "ELECTRONICS", 10, "Apple", "16형 노트북, 36 GB 메모리, 1 TB SSD"),
    Sample(2, "iPhone 15 Pro", 1550000, "ELECTRONICS", 50, "Apple", "티타늄 스마트폰, 256 GB"),
    Sample(3, "Galaxy S24 Ultra", 1690000, "ELECTRONICS", 30, "Samsung", "S펜을 갖춘 스마트폰, 256 GB"),
    Sample(4, "나이키 에어맥스", 159000, "FASHION", 100, "Nike", "에어 쿠션 운동화"),
    Sample(5, "리바이스 501 진", 129000, "FASHION", 80, "Levi's", "스트레이트 핏 청바지"),
    Sample(6, "설화수 자음생 에센스", 230000, "BEAUTY", 40, "설화수", "인삼 에센스 50 ml"),
    Sample(7, "클린 코드", 33000, "BOOK", 150, "인사이트", "로버트 C. 마틴, 애자일 소프트웨어 장인 정신"),
    Sample(8, "이펙티브 자바", 36000, "BOOK", 120, "인사이트", "조슈아 블로크, 3판"),
    Sample(9, "윌슨 테니스 라켓", 250000, "SPORTS", 25, "Wilson", "카본 라켓, 305 g"),
    Sample(10, "다이슨 무선 청소기", 899000, "HOME", 15, "Dyson", "무선 스틱 청소기"),
)
USERS = (
    {"email": "customer1@example.com", "name": "김하나", "phone": "010-1000-0001", "language": "ko"},
    {"email": "customer2@example.com", "name": "이두리", "phone": "010-1000-0002", "language": "ko"},
    {"email": "customer3@example.com", "name": "Sam Three", "language": "en"},
    {"email": "admin@example.com", "name": "Admin", "language": "en", "is_staff": True, "is_superuser": True},
)


class Command(BaseCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--quiet", action="store_true", help="say nothing but a generated password")

    def handle(self, *args: Any, quiet: bool, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "The sample users, an administrator among them, share one password: they are for development machines,"
                " with DEBUG=1. Nothing was changed. Elsewhere: manage.py createsuperuser."
            )
        rows = [sample._asdict() for sample in PRODUCTS]
        quantities = {row["id"]: row.pop("stock") for row in rows}
        given = environ.Env().str("SEED_PASSWORD", "")
        password = given or token_urlsafe(12)

        products = import_string("catalog.services.seed_products")(rows)
        stocked = import_string("inventory.services.seed_stock")(quantities)
        users = import_string("accounts.services.seed_users")(USERS, password=password)

        if not quiet:
            self.stdout.write(f"Seeded {products} products, {stocked} stock records, {len(users)} users.")
        if users and not given:
            self.stdout.write(f"Password of {', '.join(users)}: {password}")

"""Sample products and users. `manage.py seed` creates them; the landing page orders as them."""

from typing import NamedTuple

ELSEWHERE = "BUSAN"  # the location where some of the samples lie, too
ADDRESS = "서울특별시 중구 세종대로 110"
PAYS = "tok_ok"  # for the sandbox, which charges it


class Sample(NamedTuple):
    id: int
    name: str
    price: int  # ₩
    category: str
    stock: int
    brand: str
    description: str
    elsewhere: int = 0  # pieces there, of all of them


PRODUCTS = (
    Sample(1, "MacBook Pro 16", 3500000, "ELECTRONICS", 10, "Apple", "16형 노트북, 36 GB 메모리, 1 TB SSD"),
    Sample(2, "iPhone 15 Pro", 1550000, "ELECTRONICS", 50, "Apple", "티타늄 스마트폰, 256 GB"),
    Sample(3, "Galaxy S24 Ultra", 1690000, "ELECTRONICS", 30, "Samsung", "S펜을 갖춘 스마트폰, 256 GB"),
    Sample(4, "나이키 에어맥스", 159000, "FASHION", 100, "Nike", "에어 쿠션 운동화"),
    Sample(5, "리바이스 501 진", 129000, "FASHION", 80, "Levi's", "스트레이트 핏 청바지"),
    Sample(6, "설화수 자음생 에센스", 230000, "BEAUTY", 40, "설화수", "인삼 에센스 50 ml"),
    Sample(7, "클린 코드", 33000, "BOOK", 150, "인사이트", "로버트 C. 마틴, 애자일 소프트웨어 장인 정신"),
    Sample(8, "이펙티브 자바", 36000, "BOOK", 120, "인사이트", "조슈아 블로크, 3판"),
    Sample(9, "윌슨 테니스 라켓", 250000, "SPORTS", 25, "Wilson", "카본 라켓, 305 g", elsewhere=10),
    Sample(10, "다이슨 무선 청소기", 899000, "HOME", 15, "Dyson", "무선 스틱 청소기"),
)
USERS = (
    {"email": "customer1@example.com", "name": "김하나", "phone": "010-1000-0001", "language": "ko"},
    {"email": "customer2@example.com", "name": "이두리", "phone": "010-1000-0002", "language": "ko"},
    {"email": "customer3@example.com", "name": "Sam Three", "language": "en"},
    {"email": "admin@example.com", "name": "Admin", "language": "en", "is_staff": True, "is_superuser": True},
)

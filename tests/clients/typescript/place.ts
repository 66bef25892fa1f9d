// Signs in, places an order and reads it, as somebody would who has generated schema.d.ts from the description.
import createClient from "openapi-fetch";
import type { paths } from "./schema.d.ts";

declare const process: { argv: string[] };
const [url = "", email = "", password = "", product = ""] = process.argv.slice(2);

const paid = { address: "서울특별시 중구 세종대로 110", paymentToken: "tok_ok" };
const shop = createClient<paths>({ baseUrl: url });

const { data: tokens, error: refused } = await shop.POST("/api/v1/auth/token", { body: { email, password } });
if (!tokens) throw new Error(`${refused.code}: ${refused.detail}`);
shop.use({
  onRequest: ({ request }) => request.headers.set("Authorization", `Bearer ${tokens.access}`),
});

const { data: order, error } = await shop.POST("/api/v1/orders", {
  body: { items: [{ productId: Number(product), quantity: 2 }], ...paid },
  params: { header: { "Idempotency-Key": "of-a-test" } },
});
if (!order) throw new Error(`${error.code}: ${error.detail}`);

const { data: read } = await shop.GET("/api/v1/orders/{order_id}", { params: { path: { order_id: order.id } } });
const { error: none } = await shop.POST("/api/v1/orders", { body: { productId: 4711, quantity: 1, ...paid } });
const status: "PENDING" | undefined = read?.status === "PENDING" ? read.status : undefined;

console.log(JSON.stringify({ id: order.id, status, total: order.totalPrice, code: none?.code }));

// A form with data-passkey ("create" or "get") passes its data-options to the browser and sends the result as "passkey".
"use strict";

async function answer(form) {
  const options = JSON.parse(form.dataset.options);
  const credential =
    form.dataset.passkey === "create"
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
  return JSON.stringify(credential.toJSON());
}

for (const form of document.querySelectorAll("[data-passkey]")) {
  const failed = form.querySelector("[role=alert]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    failed.hidden = true;
    try {
      form.elements.passkey.value = await answer(form);
      form.submit();
    } catch {
      // cancelled, too late, known already, or a browser without passkeys: nobody is told which, by design
      failed.textContent = form.dataset.failed;
      failed.hidden = false;
    }
  });
}

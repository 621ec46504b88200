// A component by xmpp.js that sends each text back. Argument: JSON of domain (its own), secret, service (host:port).
import { component, xml } from "@xmpp/component";

const { domain, secret, service } = JSON.parse(process.argv[2]);
const bot = component({ service: `xmpp://${service}`, domain, password: secret });
bot.reconnect.delay = 50;
bot.on("error", (error) => console.error(error.message));
bot.on("stanza", async (stanza) => {
  const text = stanza.is("message") && stanza.attrs.type !== "error" && stanza.getChildText("body");
  if (!text) return;
  console.log(`heard ${text}`);
  const { from, to } = stanza.attrs;
  await bot.send(xml("message", { from: to, to: from, type: "chat" }, xml("body", {}, text)));
});
bot.on("online", (address) => console.log(`online ${address}`));
bot.start();

// A client by xmpp.js that sends each text back. Argument: JSON of domain, user, password, nodes (host:port each).
// Says `online JID`, `resumed`, `heard TEXT`.
// It asks the server nothing: xmpp.js 0.14 does not count what its IQ caller takes, so each answer to it would come to be a stanza
// that the server must repeat on resumption.
import { client, xml } from "@xmpp/client";

const { domain, user, password, nodes } = JSON.parse(process.argv[2]);
const service = () => `xmpp://${nodes[0]}`;
const bot = client({ service: service(), domain, username: user, password, resource: "bot" });
bot.reconnect.delay = 50;
bot.streamManagement.on("resumed", () => console.log("resumed"));
bot.on("error", (error) => console.error(error.message));
bot.on("disconnect", () => {
  nodes.push(nodes.shift());
  bot.options.service = service();
});
bot.on("stanza", async (stanza) => {
  const text = stanza.is("message") && stanza.attrs.type !== "error" && stanza.getChildText("body");
  if (!text) return;
  console.log(`heard ${text}`);
  const answer = xml("message", { to: stanza.attrs.from, type: "chat" }, xml("body", {}, text));
  await bot.send(answer).catch(() => {}); // it is kept for the next stream
});
bot.on("online", async (address) => {
  await bot.send(xml("presence"));
  console.log(`online ${address}`);
});
bot.start();

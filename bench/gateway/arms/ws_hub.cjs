// `ws` on Node: every line of standard input goes to all sockets. `ws_hub.cjs PORT`, with the
// folder of node_modules in NODE_PATH.
const http = require("http");
const readline = require("readline");
const { WebSocket, WebSocketServer } = require("ws");

const server = http.createServer((request, response) => response.end());
const sockets = new WebSocketServer({ server, perMessageDeflate: false });

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const message = Buffer.from(line);
  for (const socket of sockets.clients) {
    if (socket.readyState === WebSocket.OPEN) socket.send(message, { binary: false });
  }
});

server.listen(Number(process.argv[2]), "127.0.0.1", 4096);

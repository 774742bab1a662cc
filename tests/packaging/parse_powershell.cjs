// Parses texts as PowerShell: reads a JSON list of them, writes for each the list of its faults as [line, what].
//
//   node parse_powershell.cjs PARSER.cjs GRAMMAR.wasm

const fs = require('fs');
// The grammar is one huge function: compiled once and simply it is done in a blink, optimised it takes seconds.
require('v8').setFlagsFromString('--liftoff-only');
const { Parser, Language } = require(process.argv[2]);

function faultsOf(node) {
  if (node.isError) return [[node.startPosition.row + 1, 'no PowerShell: ' + node.text.slice(0, 60)]];
  if (node.isMissing) return [[node.startPosition.row + 1, 'missing: ' + node.type]];
  return node.hasError ? node.children.flatMap(faultsOf) : [];
}

async function main() {
  await Parser.init();
  const parser = new Parser();
  parser.setLanguage(await Language.load(process.argv[3]));
  const answers = JSON.parse(fs.readFileSync(0, 'utf8')).map((text) => {
    const tree = parser.parse(text);
    const faults = faultsOf(tree.rootNode);
    tree.delete();
    return faults;
  });
  process.stdout.write(JSON.stringify(answers));
}

main();

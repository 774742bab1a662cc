#Requires -Version 5.1
#Requires -RunAsAdministrator

<#
.SYNOPSIS
Removes nodemeter from this host; its journal and keys stay unless told otherwise.

.DESCRIPTION
Stops and removes the service, its event source and its group memberships, and deletes the program. Running it again, or
where nothing is installed, is no error.

.PARAMETER InstallFolder
Where the program is. Default: Program Files\nodemeter.

.PARAMETER RemoveData
Also deletes configuration, journal and signing key. What was not delivered is lost, and nothing that this node has signed
can be continued.

.EXAMPLE
.\uninstall.ps1
#>
[CmdletBinding()]
param(
    [string] $InstallFolder = (Join-Path $env:ProgramFiles 'nodemeter'),
    [switch] $RemoveData
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$program = Join-Path $InstallFolder 'nodemeter.exe'
if (Test-Path $program) {
    & $program service uninstall
    if ($LASTEXITCODE -ne 0) {
        throw "nodemeter service uninstall ended with $LASTEXITCODE"
    }
    Remove-Item -Force $program
    Remove-Item -Force -ErrorAction SilentlyContinue "$program.old"
    # Whatever else lies there is not ours.
    if (-not (Get-ChildItem -Force $InstallFolder)) {
        Remove-Item -Force $InstallFolder
    }
}

$path = [Environment]::GetEnvironmentVariable('Path', 'Machine')
$rest = ($path -split ';' | Where-Object { $_ -and $_ -ne $InstallFolder }) -join ';'
if ($rest -ne $path.TrimEnd(';')) {
    [Environment]::SetEnvironmentVariable('Path', $rest, 'Machine')
}

$dataFolder = Join-Path $env:ProgramData 'nodemeter'
if ($RemoveData -and (Test-Path $dataFolder)) {
    Remove-Item -Recurse -Force $dataFolder
}
